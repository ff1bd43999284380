"""What a recipe needs of every utterance: a stock `dataset.check`, for recipes that read speech and text.

dataset:
  check:
    _target_: espnet3.components.data.checking.requirements.Requirements
    sample_rate: 16000
    characters: " 'abcdefghijklmnopqrstuvwxyz"
    ctc_stride: 640

Any other callable does as well: it gets an `Utterance`, and gives texts that say what is wrong with it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from espnet3.components.data.checking.utterance import Utterance
from espnet3.errors import UserError, first_of


class Requirements:
    """Bounds of length, a sample rate, and the text that the model can be trained on.

    Args:
        sample_rate: in Hz; None: any.
        min_samples: the shortest utterance that the model takes, such as the window of its features.
        max_seconds: the longest that fits into a batch; None: any.
        text: the key of the text in a line of the manifest. It is looked at if one of the next is given.
        characters: all characters that a text may have; each is a token.
        words: all words that a text may have, between blanks; each is a token.
        ctc_stride: samples for each output of a model that is trained by CTC, which needs one output for
            each token of the text, and one more between two equal tokens.

    Raises:
        UserError: both characters and words, or ctc_stride without one of them.
    """

    def __init__(
        self,
        sample_rate: int | None = None,
        min_samples: int = 1,
        max_seconds: float | None = None,
        text: str = "text",
        characters: str | None = None,
        words: Sequence[str | int] | None = None,
        ctc_stride: int | None = None,
    ) -> None:
        if characters is not None and words is not None:
            raise UserError("the tokens of a text are its characters or its words: give one of them")
        if ctc_stride is not None and characters is None and words is None:
            raise UserError("ctc_stride needs to know the tokens of a text: give characters or words")
        self.sample_rate, self.min_samples, self.max_seconds = sample_rate, min_samples, max_seconds
        self.text, self.ctc_stride = text, ctc_stride
        tokens: Iterable[str | int] = (characters if words is None else words) or ()
        self.tokens = frozenset(map(str, tokens))
        self.unit = "word" if words is not None else "character"

    def __call__(self, utterance: Utterance) -> Iterator[str]:
        """What is wrong with the utterance, one text for each."""
        rate, samples = utterance.sample_rate, utterance.samples
        if self.sample_rate is not None and rate not in (None, self.sample_rate):
            yield f"has {rate:,} Hz; sample_rate is {self.sample_rate:,}"
        if samples is not None:
            yield from self._length_problems(samples, rate)
        if self.tokens and (samples is None or samples >= self.min_samples):
            yield from self._text_problems(utterance.entry.get(self.text), samples)

    def _length_problems(self, samples: int, rate: int | None) -> Iterator[str]:
        if samples < self.min_samples:
            yield f"has {samples:,} samples; the least are {self.min_samples:,}"
        if self.max_seconds is not None and rate and samples / rate > self.max_seconds:
            yield f"is {samples / rate:,.1f} s long; max_seconds is {self.max_seconds:g}"

    def _text_problems(self, text: object, samples: int | None) -> Iterator[str]:
        if not isinstance(text, str):
            yield (
                f"has no {self.text!r}"
                if text is None
                else f"{self.text!r} must be a string, given: {text!r}"
            )
            return
        tokens = text.split() if self.unit == "word" else list(text)
        unknown = list(dict.fromkeys(token for token in tokens if token not in self.tokens))
        if unknown:
            units = self.unit if len(unknown) == 1 else f"{self.unit}s"
            yield f"its text has the unknown {units} {first_of(map(repr, unknown), 5)}"
        if self.ctc_stride and samples is not None:
            outputs = -(-samples // self.ctc_stride)
            needed = len(tokens) + sum(a == b for a, b in pairwise(tokens))
            if needed > outputs:
                yield f"its text needs {needed:,} outputs (CTC); {samples:,} samples give {outputs:,}"
