"""The Slicer side of FSEFT: MRML bridge, background jobs, dependencies and panels.

Nothing here imports torch; what talks to MRML takes the scene and the module logics as arguments, so that it can
be exercised without the application.
"""
