"""``python -m napari_car`` is the ``napari-car`` command."""

from napari_car.cli import main

raise SystemExit(main())
