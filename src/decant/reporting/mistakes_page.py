"""One HTML page of a model's mistakes, with the images: the worst, and typical cases of the commonest confusions."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from decant.evaluation.tables import plural, short
from decant.reporting.html_document import html_document

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #1b1f24; background: #fff; }
section { margin-top: 2.5rem; }
ol { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
li { border: 1px solid #d0d7de; border-radius: .5rem; overflow: hidden; break-inside: avoid; }
img { width: 100%; height: 9rem; object-fit: contain; background: #eef1f4; display: block; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .6rem; margin: .6rem; font-size: .85rem; }
dt { color: #59636e; } dd { margin: 0; overflow-wrap: anywhere; }
footer { margin: .6rem; font-size: .75rem; color: #59636e; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117; } li { border-color: #3d444d; }
  img { background: #21262d; } dt, footer { color: #9198a1; } }
@media print { body { color: #000; background: #fff; max-width: none; margin: 0; } }
"""


@dataclass(frozen=True)
class Card:
    """An image with its label and predictions. image: a data URI. predictions: model -> class, probability."""

    image: str
    name: str
    label: str
    predictions: dict[str, tuple[str, float]]


@dataclass(frozen=True)
class Confusion:
    """A label that was taken for another class, how often, and some of these mistakes."""

    label: str
    predicted: str
    count: int
    cards: Sequence[Card]


def mistakes_page(title: str, summary: str, worst: Sequence[Card], confusions: Sequence[Confusion]) -> str:
    """The page as HTML; nothing outside it is loaded. summary: the sentence below the title."""
    sections = [group("Worst first", "The wrong predictions with the highest probability.", worst)]
    sections += [
        group(
            f"{confusion.label} taken for {confusion.predicted}",
            f"{plural(confusion.count, 'image')}; those with a typical probability are shown.",
            confusion.cards,
        )
        for confusion in confusions
    ]
    heading = f"<h1>{escape(title)}</h1><p>{escape(summary)}</p>"
    return html_document(title, STYLE, heading, *(sections if worst else []))


def group(heading: str, sentence: str, cards: Sequence[Card]) -> str:
    items = "\n".join(card_html(card) for card in cards)
    return f"<section><h2>{escape(heading)}</h2><p>{escape(sentence)}</p><ol>\n{items}\n</ol></section>"


def card_html(card: Card) -> str:
    predictions = "".join(
        f"<dt>{escape(model)}</dt><dd>{escape(name)} {short(str(probability), 2)}</dd>"
        for model, (name, probability) in card.predictions.items()
    )
    alternative = escape(f"{card.name}, labelled {card.label}", quote=True)
    return (
        f'<li><img src="{escape(card.image, quote=True)}" alt="{alternative}" loading="lazy">'
        f"<dl><dt>label</dt><dd>{escape(card.label)}</dd>{predictions}</dl><footer>{escape(card.name)}</footer></li>"
    )
