"""Every word that leads to a setting leads to one that exists, and no word hides one of ours."""

from contextlib import suppress

import pytest

from kitipde.config.foreign import _WORDS, settings_called
from kitipde.config.load import resolve_config
from kitipde.errors import InputError


@pytest.mark.parametrize("key", _WORDS)
def test_every_target_is_a_setting(key: str) -> None:
    with suppress(InputError):
        resolve_config({}, [f"{key}=impossible"])
        return
    with pytest.raises(InputError, match=r"^(?!unknown config key)"):
        resolve_config({}, [f"{key}=impossible"])


def test_a_word_leads_to_one_setting_and_our_own_names_to_themselves() -> None:
    words = [word for each in _WORDS.values() for word in each]
    assert len(words) == len(set(words))
    for word in words:
        assert len(settings_called(f"anything.{word}")) >= 1
    assert settings_called("learning_rate") == ("optimizer.learning_rate",)
    assert settings_called("Hidden-Channels") == ("model.width",)
    assert settings_called("nonsense") == ()
