"""The napari face: a dock widget, samples and commands; the only place that knows napari and Qt.

``dock`` is where everything meets. ``form`` holds the controls, ``settings`` what they say, ``job`` the work in its
thread, ``source`` what is read of a layer, ``result`` the layers that come of it, ``preview`` and ``divider`` the live
preview. What is neither napari nor Qt is done by the core.
"""
