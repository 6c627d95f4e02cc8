"""``napari-car gimp``: put the filter into GIMP, take it out, find out what is wrong."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from napari_car.errors import FileError
from napari_car.gimp.doctor import examine
from napari_car.gimp.folders import profile_roots, profiles
from napari_car.gimp.install import folder_in, install, uninstall

EXAMPLES = """\
examples:
  napari-car gimp install             Filters > Enhance > Remove JPEG Artifacts in every GIMP 3 of yours
  napari-car gimp install --dry-run   say where to, and do nothing
  napari-car gimp doctor              what is wrong, and what helps
  napari-car gimp uninstall"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``napari-car gimp``."""
    parser.add_argument("action", choices=["install", "uninstall", "doctor"], help="what to do")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")


def run(options: argparse.Namespace) -> int:
    """Do it for every GIMP 3 profile; ``doctor`` gives 1 where it finds a fault."""
    where = sys.platform, os.environ, str(Path.home())
    if options.action == "doctor":
        symptoms = list(examine(*where))
        for symptom in symptoms:
            print(f"{'wrong:' if symptom.is_fault else 'note: '} {symptom.sentence}")
        return int(any(symptom.is_fault for symptom in symptoms))
    found = profiles(*where)
    if not found:
        looked = ", ".join(map(str, profile_roots(*where)))
        raise FileError(
            f"no profile of GIMP 3 was found in {looked}; start GIMP 3 once, or name one in GIMP3_DIRECTORY"
        )
    change, verb = (install, "install") if options.action == "install" else (uninstall, "remov")
    for profile in found:
        is_changed = change(profile, dry_run=options.dry_run)
        done = f"would be {verb}ed" if options.dry_run else f"{verb}ed"
        nothing = "is up to date" if change is install else "was not there"
        print(f"{folder_in(profile)}: {done if is_changed else nothing}")
    if change is install and not options.dry_run:
        print("Start GIMP anew; the filter is Filters > Enhance > Remove JPEG Artifacts.")
    return 0
