"""The frame of an HTML page that needs no other file."""

from html import escape


def html_document(title: str, style: str, *body: str) -> str:
    """A page with this title, CSS and body, each part of the body on a line of its own."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{style}</style></head><body>",
            *body,
            "</body></html>",
            "",
        ]
    )
