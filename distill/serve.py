"""Serve exported files: a page for photos, and the inference protocols of KServe v2 (Triton) and TensorFlow Serving.

A checkout and the packages onnxruntime, numpy, pillow, flask and waitress are enough. The page classifies images that
are chosen, dropped, pasted or taken. Programs send them to /predict; /openapi.json describes all addresses. Only this
machine reaches the app unless --host gives another address. A file that is replaced is loaded again.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "src"))  # if decant is not installed

from decant.cores import usable_cores
from decant.data.images import MAX_PIXELS
from decant.errors import exit_on_user_error
from decant.serving.app import AppOptions, create_app
from decant.serving.memory import share_freed_memory
from decant.serving.samples import FolderSamples, ToySamples
from decant.serving.served_model import ServedModel, served_models, watch
from decant.serving.server import is_loopback, server_of
from decant.serving.uploads import MEGA, Limits
from decant.workspace import followed

EXAMPLE = "python distill/serve.py runs/demo/export/latest/student.onnx"


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    share_freed_memory()
    limits = Limits(round(given.max_mb * MEGA), round(given.max_megapixels * MEGA), given.max_files, given.timeout)
    models = served_models(given.models)
    samples = FolderSamples(given.samples) if given.samples else ToySamples()
    app = create_app(models, AppOptions(limits, given.threads, samples, given.embed_in or ""))
    server = server_of(app, given.host, given.port, given.threads, limits)
    watch(models)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    announce(models, given.host, int(server.effective_port))
    server.run()


def parser() -> argparse.ArgumentParser:
    default = Limits()
    options = argparse.ArgumentParser(
        description=__doc__, epilog=f"example:\n  {EXAMPLE}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "models",
        nargs="+",
        type=named_file,
        metavar="[NAME=]MODEL",
        help="exported files, student.onnx; NAME is in the addresses (default: the study's name)",
    )
    options.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine)"
    )
    options.add_argument("--port", type=port_number, default=8000, help="0: a free one (default: %(default)s)")
    options.add_argument(
        "--max-mb",
        type=above_zero,
        default=default.bytes / MEGA,
        metavar="MB",
        help="of a request (default: %(default)g)",
    )
    options.add_argument(
        "--max-megapixels",
        type=megapixels,
        default=default.pixels / MEGA,
        metavar="N",
        help="of an image; each takes up to 30 MB of memory (default: %(default)g)",
    )
    options.add_argument(
        "--max-files", type=at_least_one, default=default.files, metavar="N", help="of a request (default: %(default)s)"
    )
    options.add_argument(
        "--timeout",
        type=above_zero,
        default=default.seconds,
        metavar="S",
        help="seconds for receiving a request, and from then until it is answered (default: %(default)g)",
    )
    options.add_argument(
        "--threads",
        type=at_least_one,
        default=usable_cores(),
        metavar="N",
        help="predictions at once (default: the usable cores, here %(default)s)",
    )
    options.add_argument(
        "--samples", type=Path, metavar="FOLDER", help="images to try, shown to everybody (default: drawn toy vehicles)"
    )
    options.add_argument(
        "--embed-in",
        type=web_origin,
        metavar="ORIGIN",
        help="a site whose pages may show the app in a frame, such as https://huggingface.co",
    )
    return options


def named_file(text: str) -> tuple[str, Path]:
    """The value of a model: its name, "" if none is given, and its file."""
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return "", followed(text)
    if not name or not all(character.isalnum() or character in "_-." for character in name):
        raise argparse.ArgumentTypeError(f"{name!r} is not a name of letters, digits, _, - and .")
    return name, followed(path)


def above_zero(text: str) -> float:
    """The value of a limit."""
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def megapixels(text: str) -> float:
    """The value of --max-megapixels."""
    value = above_zero(text)
    if value * MEGA > MAX_PIXELS:
        raise argparse.ArgumentTypeError(f"images of more than {MAX_PIXELS / MEGA:g} megapixels are not read")
    return value


def at_least_one(text: str) -> int:
    """The value of a count."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def port_number(text: str) -> int:
    """The value of --port."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def web_origin(text: str) -> str:
    """The value of --embed-in."""
    if not text.startswith(("https://", "http://")) or any(character in text for character in " ;,'\""):
        raise argparse.ArgumentTypeError(f"{text!r} is not an address such as https://huggingface.co")
    return text


def announce(models: Sequence[ServedModel], host: str, port: int) -> None:
    """Print where the app is, and a warning if others can reach it."""
    for model in models:
        print(f"{model.name}: {model.path}, {len(model.classifier.classes)} classes")
    if not is_loopback(host):
        print(
            f"WARNING: everybody who can reach {host} port {port} of this machine can use the app: there is neither a "
            "password nor encryption. docs/hosting.md explains how to put a proxy in front of it.",
            file=sys.stderr,
        )
    address = f"[{host}]" if ":" in host else host
    print(f"open http://{address}:{port}/ (Ctrl-C stops the server)", flush=True)


if __name__ == "__main__":
    with exit_on_user_error():
        main()
