"""Base classes for `scripts/<modality>/models/record.py` and `record_collection.py`.

A class `Record` or `RecordCollection` there replaces the library's class for that modality, in that workspace only:

    from sinagot_catalog.models import Record as BaseRecord

    class Record(BaseRecord):
        def age(self):
            return self.data["age"]
"""

from sinagot_catalog.records import Record, RecordCollection

__all__ = ["Record", "RecordCollection", "Subset"]

Subset = RecordCollection
"""sinagot's other name for `RecordCollection`."""
