"""The story grammar: plots and words from two text files → one story per random generator.

What it is not: the corpus (corpus.py) or the text itself (plots.txt, words.txt, which say how they
are to be read). A story keeps what it has chosen: names, colours and things stay the same.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
INVENTED_NAMES = 0.25
HERO_BY_KIND = 0.12
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([^{}]+)\}")
_PRONOUNS = {"she": ("she", "her", "her"), "he": ("he", "his", "him")}
_INTRODUCED = ("{thefk}", ", a {mild2}", " was a {mild2}")
_SHE = {"girl", "princess", "fairy", "queen", "witch"}
_HE = {"boy", "prince", "king", "knight", "wizard", "pirate"}

Stage = tuple[str, ...]
Plot = tuple[Stage, ...]


@dataclass(frozen=True)
class Grammar:
    """Words by category, blocks and plots by name."""

    words: dict[str, tuple[str, ...]]
    blocks: dict[str, Stage]
    plots: dict[str, Plot]


@cache
def grammar() -> Grammar:
    """Both files, read once."""
    words = {}
    for line in _lines("words.txt"):
        if line:
            name, _, entries = line.partition(": ")
            words[name] = tuple(entry.strip() for entry in entries.split(","))
    chapters: dict[str, list[list[str]]] = {}
    for line in _lines("plots.txt"):
        if line.startswith((":: ", "== ")):
            chapter: list[list[str]] = [[]]
            chapters[line] = chapter
        elif line:
            chapter[-1].append(line)
        elif chapter[-1]:
            chapter.append([])
    made = {name: tuple(tuple(s) for s in stages if s) for name, stages in chapters.items()}
    return Grammar(
        words=words,
        blocks={name[3:]: sum(stages, ()) for name, stages in made.items() if name[0] == ":"},
        plots={name[3:]: stages for name, stages in made.items() if name[0] == "="},
    )


def _lines(name: str) -> list[str]:
    text = (HERE / name).read_text(encoding="utf-8")
    lines = [line.strip() for line in text.split("\n")]
    while lines and (lines[0].startswith("#") or not lines[0]):
        lines.pop(0)
    return lines


def story(rng: random.Random) -> str:
    """One story, a single paragraph in the past tense."""
    plots = grammar().plots
    return Teller(rng).tell(rng.choice(sorted(plots)))


@dataclass
class Teller:
    """What one story has chosen so far."""

    rng: random.Random
    known: dict[str, str] = field(default_factory=dict)
    taken: dict[str, set[str]] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)
    heroes_named: int = 0

    def tell(self, name: str) -> str:
        """The story of one plot."""
        self._cast()
        lessons = (entry.split("/") for entry in grammar().words["lesson"])
        self.known["lesson"] = dict(lessons)[name]
        stages = grammar().plots[name]
        return " ".join(" ".join(self._stage(stage) for stage in stages).split())

    def _stage(self, stage: Stage) -> str:
        line = self.rng.choice(stage)
        if line.startswith("@"):
            line = self.rng.choice(grammar().blocks[line[1:]])
        return self.expand(line)

    def _cast(self) -> None:
        """The hero, a friend, an elder and an animal on the way; all of different kinds."""
        rng, known = self.rng, self.known
        kind, home = self._being()
        known |= {"k": kind, "home": home, "thehome": re.sub(r"^an? ", "the ", home)}
        known["fk"] = self._being()[0]
        known["wanimal"] = self._pick("small")
        for key, who, prefix in (("N", kind, ""), ("F0", known["fk"], "f")):
            she = who in _SHE or (who not in _HE and rng.random() < 0.5)
            known[key] = self.name("girl" if she else "boy")
            known["the" + (prefix + "k")] = "" if who in ("girl", "boy") else f" the {who}"
            self._pronouns(prefix, "she" if she else "he")
        known["thefk"] = known["thefk"] or " from next door"
        intro, short, pronoun = self._pick("elder").split("/")
        known |= {"elder0": intro, "elder1": short}
        self._pronouns("e", pronoun)

    def _being(self) -> tuple[str, str]:
        if self.rng.random() < 0.45:
            return self.rng.choice(grammar().words["child"]), self._pick("village")
        kind, home = self._pick("animal").split("/")
        return kind, home

    def _pronouns(self, prefix: str, pronoun: str) -> None:
        for key, word in zip(("he", "his", "him"), _PRONOUNS[pronoun], strict=True):
            self.known[prefix + key] = word

    def name(self, kind: str) -> str:
        """A name for a girl or a boy, from the lists or invented."""
        if self.rng.random() >= INVENTED_NAMES:
            return self._pick(kind)
        words = grammar().words
        parts = [self.rng.choice(words[key]) for key in ("syllable1", "syllable2", "ending")]
        return "".join(parts).capitalize()

    def _pick(self, category: str) -> str:
        """A word that this story has not used yet."""
        taken = self.taken.setdefault(category, set())
        beings = {self.known.get("k"), self.known.get("fk")} - {"girl", "boy"}
        entries = [
            entry
            for entry in grammar().words[category]
            if entry not in taken and not beings.intersection(re.findall("[a-z]+", entry))
        ]
        chosen = self.rng.choice(entries or list(grammar().words[category]))
        taken.add(chosen)
        return chosen

    def expand(self, text: str) -> str:
        """Choices first, then slots from left to right."""
        while (changed := _CHOICE.sub(lambda m: self.rng.choice(m[1].split("|")), text)) != text:
            text = changed
        return _SLOT.sub(self._slot, text)

    def _slot(self, match: re.Match[str]) -> str:
        key = match[1]
        before, after = match.string[: match.start()], match.string[match.end() :]
        if key == "N":
            return self._hero(before, after)
        if key in ("F", "F2", "F3"):
            return self._friend(after)
        if key in ("E", "e", "E_s", "E_", "E_!"):
            return _upper_if(key.startswith("E_") and key != "E_s" or _opens(before), self._elder())
        if key == "F0":
            self.met.add("F")
            return self.known["F0"]
        return self._word(key)

    def _word(self, key: str) -> str:
        article = key.startswith(("a ", "A "))
        capital = key[0].isupper() or key.endswith("!")
        key = key.removesuffix("!")
        key = key[2:] if article else key
        word = self._value(key[0].lower() + key[1:])
        if article:
            word = ("an " if word[0] in "aeiou" else "a ") + word
        return _upper_if(capital, word)

    def _value(self, key: str) -> str:
        name, _, number = key.partition(".")
        category = name.lstrip("~").rstrip("0123456789")
        if name.startswith("~"):
            entry = self.rng.choice(grammar().words[category])
        elif name in self.known:
            entry = self.known[name]
        else:
            category = "tool2" if name == "tool2" else category
            entry = self.known[name] = self._pick(category)
        return entry.split("/")[int(number or 0)]

    def _hero(self, before: str, after: str) -> str:
        """Mostly the name; now and then "the fox", once the story knows who that is."""
        self.heroes_named += 1
        by_kind = self.heroes_named > 2 and self.rng.random() < HERO_BY_KIND
        by_kind = by_kind and self.known["k"] != self.known["fk"]
        if not by_kind or after.startswith(("{thek}", ", a ")) or before.endswith('"'):
            return self.known["N"]
        return _upper_if(_opens(before), f"the {self.known['k']}")

    def _friend(self, after: str) -> str:
        name = self.known["F0"]
        new = "F" not in self.met
        self.met.add("F")
        return name + self.known["thefk"] if new and not after.startswith(_INTRODUCED) else name

    def _elder(self) -> str:
        new = "E" not in self.met
        self.met.add("E")
        return self.known["elder0" if new else "elder1"]


def _opens(before: str) -> bool:
    """Whether a sentence begins after this text."""
    return not before or before.endswith((". ", "! ", "? ", '." ', '!" ', '?" '))


def _upper_if(capital: bool, text: str) -> str:
    return text[0].upper() + text[1:] if capital else text
