"""Slurm jobs: the batch script of a run in parts, and its submission with `sbatch`."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from shutil import which

from sinagot_catalog.errors import ServerError, UsageError
from sinagot_catalog.run import LAST
from sinagot_catalog.startup import dataclass

_TIMEOUT = 120.0
_TAKEN = {
    "--array": "the parts are the array; its limit is --array-limit",
    "-a": "the parts are the array; its limit is --array-limit",
    "--wrap": "the script is made here; --print shows it",
    "--parsable": "--json prints the job ids",
}


@dataclass(frozen=True)
class SlurmRun:
    """A run in parts on Slurm: an array with a job per part, and a job for the rows that belong to no part.

    Attributes:
        name: The name of the jobs.
        words: The arguments of `sinagot-catalog run`, without the part.
        parts: The number of parts.
        array_limit: The most parts that run at the same time; None for no limit.
        options: Options of `sbatch`, as on its command line.
        requests: Options for the resources of the rows; those of `options` have precedence.

    Raises:
        UsageError: An option of `sbatch` is one that this class sets itself.
    """

    name: str
    words: Sequence[str]
    parts: int
    array_limit: int | None = None
    options: Sequence[str] = ()
    requests: Sequence[str] = ()

    def __post_init__(self) -> None:
        for word in self.options:
            name = word.partition("=")[0] if word.startswith("--") else word[:2]
            if name in _TAKEN:
                raise UsageError(f"the option {word!r} of sbatch cannot be given: {_TAKEN[name]}")
        if self.options and not self.options[0].startswith("-"):
            raise UsageError(
                f"{self.options[0]!r} is not an option of sbatch",
                "Options of sbatch come after --, such as -- --mem=8G.",
            )

    @property
    def array(self) -> str:
        """The value of `--array`."""
        return f"1-{self.parts}" + (f"%{self.array_limit}" if self.array_limit else "")

    def script(self, *directives: str) -> str:
        """Return the batch script: it runs the part of its array task; without a task, what belongs to no part.

        Args:
            directives: Words of `#SBATCH` lines, one line each.

        Example:
            >>> run = SlurmRun("harbor", ["-C", "/data/harbor/workspace.toml"], parts=8)
            >>> print(run.script("--array=1-8").replace(sys.executable, "python"))
            #!/bin/sh
            #SBATCH --array=1-8
            part="${SLURM_ARRAY_TASK_ID:+$SLURM_ARRAY_TASK_ID/8}"
            exec python -P -m sinagot_catalog run -C /data/harbor/workspace.toml --quiet --part "${part:-last}"
            <BLANKLINE>
        """
        program = shlex.join([sys.executable, "-P", "-m", "sinagot_catalog", "run", *self.words])
        lines = [
            "#!/bin/sh",
            *(f"#SBATCH {words}" for words in (*self.requests, *directives)),
            f'part="${{SLURM_ARRAY_TASK_ID:+$SLURM_ARRAY_TASK_ID/{self.parts}}}"',
            f'exec {program} --quiet --part "${{part:-{LAST}}}"',
        ]
        return "".join(f"{line}\n" for line in lines)

    def printed(self) -> str:
        """Return the script with all options, for `sbatch FILE`."""
        return self.script(
            f"--job-name={shlex.quote(self.name)}", f"--array={self.array}", *self._directives()
        )

    def _directives(self) -> list[str]:
        """The options of `sbatch`, each with its value."""
        directives: list[str] = []
        for word in self.options:
            quoted = shlex.quote(word)
            if word.startswith("-") or not directives:
                directives.append(quoted)
            else:
                directives[-1] += f" {quoted}"
        return directives

    def submit(self, *, array: bool = True, last: bool = True) -> dict[str, str | None]:
        """Submit the array, and the job that comes after it whether its parts succeed or fail.

        Args:
            array: Whether to submit the array.
            last: Whether to submit the job for the rows that belong to no part.

        Returns:
            The ids of both jobs, None for a job that was not submitted.

        Raises:
            ServerError: There is no `sbatch` here, or it refused a job.
        """
        first = self._sbatch("the array", f"--array={self.array}") if array else None
        after = [f"--dependency=afterany:{first}"] if first else []
        try:
            then = self._sbatch("the job of what belongs to no part", *after) if last else None
        except ServerError as error:
            if first is None:
                raise
            raise ServerError(
                error.message, f"The array {first} was submitted; when it has ended, run with --part {LAST}."
            ) from None
        return {"array": first, "last": then}

    def _sbatch(self, what: str, *more: str) -> str:
        program = which("sbatch")
        if program is None:
            raise ServerError(
                "there is no program sbatch on this machine",
                "Run this on a machine that submits to Slurm, or write the script with --print.",
            )
        try:
            done = subprocess.run(  # noqa: S603 - the program of Slurm with the options of the user
                [program, "--parsable", f"--job-name={self.name}", *self.options, *more],
                input=self.script(), capture_output=True, text=True, timeout=_TIMEOUT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ServerError(f"sbatch gave no answer within {_TIMEOUT:g} s for {what}") from None
        if done.returncode:
            said = [line.partition("error: ")[2] or line for line in done.stderr.splitlines() if line.strip()]
            reason = "; ".join(dict.fromkeys(said)) or f"exit code {done.returncode}"
            hint = "Give fewer --parts: MaxArraySize of Slurm bounds an array." if "array" in reason else ""
            raise ServerError(f"sbatch refused {what}: {reason}", hint)
        return done.stdout.strip().partition(";")[0]
