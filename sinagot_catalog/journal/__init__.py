"""The journal, claims and reports of runs: what each run did, and which run holds which row.

In: the events of running rows. Out: the last event of each row, and the claims of live runs. All of it is stored
in `LOG/`, in one file per process of a run. No two processes write the same file.

Begin with `reader` (the files, and the protocol of a row), then `writer` (the lines) and `claims` (which run holds
which row, with its protocol). Workers import `writer`, `run_spec`, `process_identity` and `tail`: these use the
standard library only.
"""

from typing import TYPE_CHECKING

from sinagot_catalog.startup import lazy_exports

if TYPE_CHECKING:
    from sinagot_catalog.journal.claims import Claim, ClaimMonitor, Claims
    from sinagot_catalog.journal.event_lines import ORDER
    from sinagot_catalog.journal.log_names import check_links, is_kept_file, is_run_id
    from sinagot_catalog.journal.output_ownership import (
        ExistingFile,
        ExistingPath,
        ForeignFileError,
        Made,
        Provenance,
        check_file,
        check_folder,
        made_file,
        made_of,
        spelled,
    )
    from sinagot_catalog.journal.process_identity import boot_id, is_same_process, start_time
    from sinagot_catalog.journal.provenance import (
        SKEW,
        last_published,
        provenance_of,
        unrecorded,
        with_last_inputs,
    )
    from sinagot_catalog.journal.reader import LAST, Journal, last_states, new_run_id, with_states
    from sinagot_catalog.journal.run_files import (
        StoredReport,
        keep_report,
        keep_selection,
        read_report,
        read_selection,
    )
    from sinagot_catalog.journal.run_report import JobFrame, RunReport, outcomes_text
    from sinagot_catalog.journal.run_spec import (
        FAILED,
        LATEST,
        NEVER,
        NO_RESOURCES,
        Group,
        Outcome,
        Port,
        Remote,
        Resources,
        Result,
        Row,
        RunSpec,
        StepSettings,
        StorageOptions,
        Task,
        UnitStepSpec,
        pack_metadata,
        tasks_of,
        unpack_metadata,
    )
    from sinagot_catalog.journal.tail import Line, LogBuffer, LogTail, parse_log_line
    from sinagot_catalog.journal.upload import JournalUploader, unread_part
    from sinagot_catalog.journal.writer import (
        Event,
        JournalWriter,
        Members,
        Reads,
        Stamp,
        UnitStepLines,
        bounded,
        journal_path,
        parse_lines,
        read_lines,
    )

__getattr__ = lazy_exports(__name__)
