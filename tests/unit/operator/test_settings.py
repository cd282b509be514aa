"""What the environment may say, and what a wrong value is answered with."""

from __future__ import annotations

import pytest

from mens_operator import settings
from mens_operator.plans import outcomes

ENVIRON = {
    "MENS_IMAGE_CORPUS": "corpus:1",
    "MENS_IMAGE_TRAINER": "trainer:1",
    "MENS_IMAGE_SERVER": "server:1",
    "MENS_OUTPUT_BUCKET": "s3://mens",
}


@pytest.mark.parametrize(("text", "pauses"), [("5:30", (5, 30)), ("0.5:0.5", (0.5, 0.5))])
def test_a_retry_is_first_and_longest(text: str, pauses: tuple[float, float]) -> None:
    """In seconds; both may be the same."""
    read = settings.from_environment({**ENVIRON, "MENS_RETRY_INPUT_SECONDS": text})
    assert read.policy.invalid_input == outcomes.Backoff(*pauses)


@pytest.mark.parametrize(
    "text", ["0:0", "0:30", "-5:30", "600:30", "-5:nan", "nan:nan", "30:inf", "30", "a:b", "1:2:3"]
)
def test_a_retry_without_a_pause_is_refused(text: str) -> None:
    """No pause, or none that ends, is named with the variable, the value and the form."""
    with pytest.raises(settings.SettingsError) as caught:
        settings.from_environment({**ENVIRON, "MENS_RETRY_DEFECT_SECONDS": text})
    assert f"MENS_RETRY_DEFECT_SECONDS is '{text}'" in str(caught.value)
    assert "30:600" in str(caught.value)
