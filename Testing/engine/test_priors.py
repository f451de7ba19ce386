"""Size priors: the paper's rule in hand-computed numbers, the default's widening, and presets with their sources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fseft.cli.main import main
from fseft.cli.segment import _prior
from fseft.errors import InputError
from fseft.jobs.job import Parameters
from fseft.jobs.segment_job import read_prior
from fseft.priors.from_support import prior_from_volumes, published_prior
from fseft.priors.presets import PRESETS, preset_for
from fseft.structures import PUBLISHED_CLASSES, canonical_name

ENGINE = Path(__file__).resolve().parents[2] / "FSEFTSegment"


def test_the_published_rule_is_the_mean_with_thirty_percent() -> None:
    prior = published_prior([100.0, 140.0])
    assert prior is not None
    assert (prior.mean_ml, prior.low_ml, prior.high_ml) == pytest.approx((120.0, 84.0, 156.0))
    assert prior.volumes_ml == (100.0, 140.0)
    assert published_prior([]) is None
    assert published_prior([0.0]) is None


def test_from_five_cases_on_sizes_beyond_one_deviation_of_the_median_are_dropped() -> None:
    # Median 100, mean 120, deviation sqrt((400 + 400 + 400 + 400 + 6400) / 5) = 40: 200 is dropped, 100 stays.
    prior = published_prior([100.0, 100.0, 100.0, 100.0, 200.0])
    assert prior is not None
    assert (prior.mean_ml, prior.low_ml, prior.high_ml) == pytest.approx((100.0, 70.0, 130.0))
    # Median 30, mean 30, deviation sqrt((400 + 100 + 0 + 100 + 400) / 5) = 14.14: 10 and 50 are dropped.
    prior = published_prior([10.0, 20.0, 30.0, 40.0, 50.0])
    assert prior is not None
    assert (prior.mean_ml, prior.low_ml, prior.high_ml) == pytest.approx((30.0, 21.0, 39.0))
    # Four cases: nothing is dropped.
    prior = published_prior([100.0, 100.0, 100.0, 200.0])
    assert prior is not None
    assert prior.mean_ml == pytest.approx(125.0)


def test_the_default_is_never_narrower_than_the_volumes_it_kept() -> None:
    wide = prior_from_volumes([50.0, 150.0])
    assert wide is not None
    assert (wide.mean_ml, wide.low_ml, wide.high_ml) == pytest.approx((100.0, 50.0, 150.0))
    narrow = prior_from_volumes([99.0, 101.0])
    assert narrow == published_prior([99.0, 101.0])
    assert narrow is not None
    assert narrow.source == "2 annotated cases"
    kept = prior_from_volumes([100.0, 100.0, 100.0, 100.0, 200.0])
    assert kept is not None
    assert kept.high_ml == pytest.approx(130.0)  # what was dropped as an outlier does not widen it
    assert prior_from_volumes([]) is None


def test_presets_are_ranges_with_citations() -> None:
    for name, preset in PRESETS.items():
        assert canonical_name(name) == name
        assert 0 < preset.low_ml < preset.mean_ml < preset.high_ml
        author, journal, year = preset.citation.rsplit(", ", 2)
        assert author
        assert journal
        assert 1970 < int(year) < 2026
        assert preset.basis
        assert preset.as_prior().source == f"preset: {preset.citation}"
        assert preset.as_prior().volumes_ml == ()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Liver", "liver"),
        ("Kidney_Right", "right kidney"),
        ("RightParotid", "right parotid gland"),
        ("left submandibular", "left submandibular gland"),
        ("adrenal gland (left)", "left adrenal gland"),
    ],
)
def test_presets_are_found_under_common_spellings(name: str, found: str) -> None:
    preset = preset_for(name)
    assert preset is not None
    assert preset.structure == found


def test_what_has_no_citable_range_has_no_preset() -> None:
    for name in ("bladder", "aorta", "liver tumour", "Kidney", "stomach", "", "brain"):
        assert preset_for(name) is None
    assert sum(preset_for(name) is not None for name in PUBLISHED_CLASSES) == 8


def test_a_preset_is_used_where_it_is_asked_for_and_nowhere_else() -> None:
    assert _prior("Spleen=preset") == ("Spleen", {"preset": True})
    prior = read_prior("Spleen", Parameters({"preset": True}))
    assert (prior.low_ml, prior.high_ml) == (107.2, 314.5)
    assert prior.source == "preset: Prassopoulos et al., European Radiology, 1997"
    edited = read_prior("Spleen", Parameters({"low_ml": 1.0, "high_ml": 2.0}))
    assert edited.source == "edited"
    with pytest.raises(InputError) as caught:
        read_prior("mandible", Parameters({"preset": True}))
    assert caught.value.code == "preset-missing"
    assert "spleen" in caught.value.hint


def test_presets_are_listed_without_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["priors"]) == 0
    assert "Prassopoulos" in capsys.readouterr().out
    assert main(["priors", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(PRESETS)
    modules = "fseft.priors.presets, fseft.models.versions, fseft.suggestion.limiting"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ENGINE)
    assert done.stdout.strip() == "False"
