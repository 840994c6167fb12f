"""Sentences to speak: made from the project's own word lists, and nonsense words.

What it is: a seeded generator. What it is not: a corpus; no text here comes from one.
"""

from __future__ import annotations

from numpy.random import Generator

PEOPLE = (
    "my brother|the old baker|Martha|our teacher|a young painter|Bobby|the farmer's wife|Philip|"
    "her mother|the new doctor|two of them|everybody|the fisherman|Vivian|a small boy|Joshua|"
    "the people of the village|nobody here|George|the woman upstairs|we all|they both"
)
VERBS = (
    "bought|moved|painted|would never push|wants to visit|saw|forgot|keeps asking for|found|"
    "put away|carried|showed us|could hardly believe|warmed|washed|opened|threw away|paid for|"
    "talked about|remembers|has lost|measured|chose|will bring|fixed|pulled up"
)
THINGS = (
    "a blue boat|the warm water|seven white sheep|this heavy wooden box|some fresh apple juice|"
    "the map of the moon|a brown paper bag|five purple flowers|that strange machine|my father's "
    "watch|the open window|a piece of cheese|our favourite movie|a thousand small fishes|the "
    "yellow umbrella|an empty jam jar|a leather shoe|the whole orchard|a cup of coffee|good "
    "food|the long bridge|every single page"
)
PLACES = (
    "before breakfast|by the river|at the top of the hill|on Monday morning|with both hands|in "
    "the far corner of the garden|after the show|for his wife|near the church|without a word|"
    "because it was raining|while the others slept|last summer|under the kitchen table|from the "
    "village shop|over the fence|if the weather allows|though few people knew|around four o'clock"
)
SAYINGS = (
    "Oh, what a wonderful evening!|Please wait a moment.|How are you feeling today?|Maybe, maybe "
    "not.|Why would you throw it away?|Thank you very much.|Yes, of course.|No, I do not think so."
    "|Where have they been?|Move over, Bob.|I am fairly sure about that.|Well, you should see it."
    "|Go ahead and open the box.|All of us were waving.|Papa, look at the puppy!|Show me the way."
)
COMMANDS = "place|set|put|lay|bin|move|take|show|find|give"
COLOURS = "blue|green|red|white|brown|purple|yellow|black|orange"
LINKS = "at|by|in|with|from|to|near|over"
LETTERS = "a b c d e f g h i j k l m n o p q r s t u v w x y z"
NUMBERS = "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|forty|fifty"
ADVERBS = "now|again|soon|please|slowly|today|here|first"

ONSETS = "b|p|m|f|v|w|t|d|n|s|z|l|r|k|g|h|sh|ch|j|bl|pl|br|fr|st|sp|tr|th|y"
NUCLEI = "a|e|i|o|u|a|o|ai|ee|oo|ou|au"
CODAS = "||||n|m|s|t|l|r|p|f|k"


def _pick(rng: Generator, words: str, separator: str = "|") -> str:
    choices = words.split(separator)
    return choices[int(rng.integers(len(choices)))]


def sentence(rng: Generator) -> str:
    """One sentence of English: a statement, a saying, a command of letters and numbers."""
    kind = rng.random()
    if kind < 0.2:
        return _pick(rng, SAYINGS)
    if kind < 0.4:
        words = [_pick(rng, part) for part in (COMMANDS, COLOURS, LINKS)]
        letter = _pick(rng, LETTERS, " ")
        return " ".join([*words, letter.upper(), _pick(rng, NUMBERS), _pick(rng, ADVERBS)]) + "."
    text = f"{_pick(rng, PEOPLE)} {_pick(rng, VERBS)} {_pick(rng, THINGS)}"
    if rng.random() < 0.7:
        text += f" {_pick(rng, PLACES)}"
    return text[0].upper() + text[1:] + "."


def nonsense(rng: Generator) -> str:
    """Three to eight made-up words of open and closed syllables, readable in any Latin script."""
    words = []
    for _ in range(int(rng.integers(3, 9))):
        syllables = int(rng.integers(1, 4))
        words.append(
            "".join(
                _pick(rng, ONSETS) + _pick(rng, NUCLEI) + _pick(rng, CODAS)
                for _ in range(syllables)
            )
        )
    return " ".join(words) + "."


def text(rng: Generator, english: bool) -> str:
    """What to say next: mostly sentences in English, mostly nonsense elsewhere."""
    return sentence(rng) if rng.random() < (0.8 if english else 0.25) else nonsense(rng)
