"""ClickHouse: tables and views, the exactly-once writer, and what reads back."""
