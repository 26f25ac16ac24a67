"""In how few bits tables are stored that rows are looked up in, by what their errors cost at the outputs."""

from netsurgeon.pipeline.tables.choose import SHARE_OF_DROP, Judge, TablePlan, choose_tables, choose_within
from netsurgeon.pipeline.tables.dropped_rows import check_dropped_rows, rows_to_drop
from netsurgeon.pipeline.tables.facts import StoredTables, TableFacts, in_the_file

__all__ = [
    "SHARE_OF_DROP",
    "Judge",
    "StoredTables",
    "TableFacts",
    "TablePlan",
    "check_dropped_rows",
    "choose_tables",
    "choose_within",
    "in_the_file",
    "rows_to_drop",
]
