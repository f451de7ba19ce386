"""The job "backbone": ``action`` "download" or "import"; ``backbone`` its identifier; ``file`` to import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fseft.backbones.library import download_backbone, import_backbone
from fseft.errors import JobError
from fseft.jobs.job import Parameters
from fseft.reporting import Reporter


def run_backbone(values: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Install a backbone; returns its identifier and title.

    Raises:
        JobError: "job-invalid" for another action.
        FseftError: what :func:`download_backbone` and :func:`import_backbone` raise.
    """
    parameters = Parameters(values)
    action, identifier = parameters.text("action"), parameters.text("backbone")
    if action == "download":
        specification = download_backbone(identifier, reporter)
    elif action == "import":
        specification = import_backbone(Path(parameters.text("file")), identifier)
    else:
        raise JobError("job-invalid", f"A backbone cannot be {action!r}.", 'Use "download" or "import".')
    return {"backbone": specification.id, "title": specification.title}
