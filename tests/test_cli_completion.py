"""`sinagot-catalog completion`."""

import shutil
import subprocess

import pytest


def completed(script, *words):
    """What bash would offer for the last of these words."""
    typed = " ".join(f"'{word}'" for word in words)
    program = f"""{script}
COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}
_sinagot_catalog
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    return subprocess.run(
        ["bash", "-c", program], capture_output=True, text=True, timeout=30, check=True
    ).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_offers_verbs_then_their_options(cli):
    script = cli("completion", "bash").stdout
    assert completed(script, "sinagot-catalog", "st") == ["status"]
    assert completed(script, "sinagot-catalog", "status", "--st") == ["--step", "--stale"]
    assert completed(script, "sinagot-catalog", "-C", "here", "logs", "--fo") == ["--follow"]
    assert "events" in completed(script, "sinagot-catalog", "ls", "ev")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_every_verb_in_words_that_it_can_read(cli, shell):
    done = cli("completion", shell)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("explain", "doctor", "ignore-missing"))
    assert "handle-fd" not in done.stdout
    program = shutil.which(shell)
    if program is not None:
        checked = subprocess.run(
            [program, "-n"], input=done.stdout, capture_output=True, text=True, timeout=30, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")
