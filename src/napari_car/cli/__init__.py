"""The ``napari-car`` command: a table of sub-commands, each a module with ``add_arguments`` and ``run``.

A sub-command's module is imported only when it is called, so that help is instant. Results go to stdout, logs and
progress to stderr. Exit codes: 0 done, 1 a `CarError` in one line, 2 usage, 130 Ctrl-C, 143 and 129 SIGTERM and SIGHUP.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from napari_car.version import __version__

COMMANDS = {
    "restore": ("napari_car.cli.restore", "remove the artifacts of JPEG compression from pictures"),
    "batch": ("napari_car.cli.batch", "restore folders of pictures; resume, report, processes or a cluster"),
    "demo": ("napari_car.cli.demo", "restore a sample and show before and after"),
    "models": ("napari_car.cli.models", "list the bundled models"),
    "info": ("napari_car.cli.info", "tell how a picture was compressed"),
    "verify": ("napari_car.cli.verify", "check a restored picture against its file"),
    "compare": ("napari_car.cli.compare", "show before and after in a page for the browser"),
    "gimp": ("napari_car.gimp.command", "put the filter into GIMP 3, or find out what is wrong with it"),
    "evaluate": ("napari_car.evaluate", "measure models on a data set"),
    "train": ("napari_car.train.command", "train a network (needs the train extra)"),
    "export": ("napari_car.train.export_command", "turn a checkpoint into a model (needs the train extra)"),
}
"""Sub-commands: their module, and what they do in a few words."""

_USAGE = """\
usage: napari-car COMMAND [options]

Undo what JPEG compression did to a picture.

commands:
{commands}

examples:
  napari-car restore photo.jpg                    writes photo.restored.png beside it
  napari-car restore scans/*.jpg -o clean/        into a folder that exists
  napari-car batch scans -o clean                 a whole tree of folders
  napari-car info photo.jpg                       quality, tables and sampling of a file

'napari-car COMMAND --help' tells more.  'napari-car --version' tells the version."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Parameters
    ----------
    argv
        Arguments after the program's name; those of the process for None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=sys.getfilesystemencodeerrors())  # names of files may be any bytes
    try:
        with _stopped_by_signals():
            try:
                return _answer(arguments[0] if arguments else "--help", arguments[1:])
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
    except KeyboardInterrupt as stop:
        _say("stopped")
        return 128 + (stop.args[0] if stop.args and isinstance(stop.args[0], int) else int(signal.SIGINT))
    except MemoryError:
        _say("the work does not fit into memory")
        return 1
    except OSError as error:
        where = "standard output" if _has_lost_output() else error.filename
        if not isinstance(error, BrokenPipeError):  # whose reader has gone, as in `napari-car models | head -1`
            _say(f"{where}: {error.strerror}" if where else str(error.strerror or error))
        return 1


def _open_closed() -> None:
    """Open on nothing what is closed of standard input, output and error, lest a file of ours is taken for it.

    ``sys.stdin`` and ``sys.stdout`` stay None, to which nothing is printed; in place of stderr None would mean stdout.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let other requests to end do what Ctrl-C does, so that nothing half done is left; the first kind counts."""
    is_main = threading.current_thread() is threading.main_thread()  # which alone has to do with signals
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if is_main and hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: handler for number, handler in handlers.items() if handler in usual}  # nohup has one ignored
    came: list[int] = []

    def stop(number: int, _: object) -> None:
        if not came or number in (signal.SIGINT, came[-1]):
            came.append(number)
            raise KeyboardInterrupt(number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    except Exception as error:
        if came:  # an extension that was being loaded has made another error of it
            raise KeyboardInterrupt(*came) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_lost_output() -> bool:
    """Whether stdout cannot be written any more; what is left of it goes nowhere then, in place of failing again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _say(sentence: str) -> None:
    """Print one line on stderr, if there still is one."""
    with suppress(OSError):
        print(f"napari-car: {sentence}", file=sys.stderr)


def _answer(name: str, arguments: list[str]) -> int:
    """Do what the first argument asks for: help, the version, or a sub-command."""
    if name in ("-h", "--help"):
        print(_USAGE.format(commands="\n".join(f"  {c:<10}{about}" for c, (_, about) in COMMANDS.items())))
        return 0
    if name == "--version":
        print(f"napari-car {__version__}")
        return 0
    if name not in COMMANDS:
        _say(f"there is no command {name!r}; there are {', '.join(COMMANDS)}")
        return 2
    return _run(name, arguments)


def _run(name: str, arguments: list[str]) -> int:
    """Import, parse and run one sub-command; our own errors become one line."""
    from napari_car.errors import CarError, MissingExtraError

    module_name, about = COMMANDS[name]
    try:
        try:
            module = importlib.import_module(module_name)
            options = _parser(name, about, module).parse_args(arguments)
            logging.basicConfig(
                level=logging.INFO if options.verbose else logging.WARNING,
                format="napari-car: %(message)s",
                stream=sys.stderr,
            )
            return int(module.run(options))
        except ModuleNotFoundError as error:
            if str(error.name).startswith("napari_car"):
                raise
            raise MissingExtraError(f"napari-car {name} ({error.name} is not installed)", "train") from error
    except CarError as error:
        _say(" ".join(str(error).split()))
        return 1


def _parser(name: str, about: str, module: Any) -> argparse.ArgumentParser:
    """What takes the arguments of a sub-command, and tells of them."""
    parser = argparse.ArgumentParser(
        prog=f"napari-car {name}",
        description=about[0].upper() + about[1:] + ".",
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say on stderr what is done and where")
    module.add_arguments(parser)
    return parser
