"""One column of a picture on its way through a network, strip by strip."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

import numpy as np

from napari_car.jpeg.coding import Coding
from napari_car.pixels import Array, Residual
from napari_car.session import Session


class Stream:
    """Runs the strips of a column from top to bottom, and keeps of each what the next one needs.

    Strips may be run from several threads: one whose turn has not come waits.

    Parameters
    ----------
    session
        Of a model that takes strips.
    coding
        How the picture was coded.
    """

    def __init__(self, session: Session, coding: Coding) -> None:
        self._session, self._coding = session, coding
        self._state: Array = np.empty(0, np.uint8)
        self._turn, self._next = Condition(), 0

    def run(self, strip: Callable[[], Array], nth: int, *, is_last: bool) -> Residual:
        """Residual of the rows that are known with this strip, by the card's ``strips["lead"]`` behind it.

        Parameters
        ----------
        strip
            Gives it when its turn has come, shape (H, W, 3), RGB in the session's ``dtype``.
        nth
            Which one of the column, from 0.
        is_last
            Whether the column ends with it; all rows that are left are then given.

        Raises
        ------
        ModelError, InferenceError
            As ``Session.run``; or what ``strip`` raises. What follows in the column is worthless then, but does not
            wait.
        """
        with self._turn:
            self._turn.wait_for(lambda: self._next == nth)
        try:
            residual, self._state = self._session.run_strip(strip(), self._coding, self._state, is_last=is_last)
            return residual
        finally:
            with self._turn:
                self._next += 1
                self._turn.notify_all()
