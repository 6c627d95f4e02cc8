"""Our side of the GIMP filter: the worker that restores for it, and its installation."""
