"""Writes the tables of docs/gateway.md anew."""

from __future__ import annotations

from tests.contract.gateway_cases.table import PAGE, with_tables

if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
