"""The board: what a worker writes outlives it."""

from __future__ import annotations

import os

from server.board import Board, Outcome


def test_a_worker_s_note_is_read_in_the_master_after_its_death() -> None:
    board = Board()
    pid = os.fork()
    if pid == 0:
        board.note(7).write(Outcome.FAILED, "the model is broken: ü")
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.note(7).read() == (Outcome.FAILED, "the model is broken: ü")
    assert board.note(8).read() == (Outcome.BOOTING, "")


def test_a_shorter_note_replaces_a_longer_one_whole() -> None:
    note = Board().note(1)
    note.write(Outcome.BOOTING, "loading the models")
    note.write(Outcome.READY)
    assert note.read() == (Outcome.READY, "")


def test_a_text_that_does_not_fit_is_cut_and_leaves_the_neighbour_alone() -> None:
    board = Board()
    board.note(2).write(Outcome.FAILED, "neighbour")
    board.note(1).write(Outcome.FAILED, "x" * 5000)
    _, text = board.note(1).read()
    assert 1000 < len(text) < 1024
    assert board.note(2).read() == (Outcome.FAILED, "neighbour")


def test_starts_are_counted() -> None:
    board = Board()
    for _ in range(3):
        board.count_start()
    assert board.starts == 3
