"""The engine's own configuration file, written beside its data at every start.

Caches are bounded because the machine is shared with a broker and workers (a server's defaults allow 5 GiB each), and
the storage policy ``tiered`` gives the volumes ``hot`` and ``cold`` that production has, here two folders of one disk.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

CONFIG_FILE = "weir-config.xml"

_TEMPLATE = """<clickhouse>
    <mark_cache_size>134217728</mark_cache_size>
    <primary_index_cache_size>134217728</primary_index_cache_size>
    <index_mark_cache_size>33554432</index_mark_cache_size>
    <query_condition_cache_size>33554432</query_condition_cache_size>
    <parquet_metadata_cache_size>33554432</parquet_metadata_cache_size>
    <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
    <storage_configuration>
        <disks><cold><path>{cold}/</path></cold></disks>
        <policies>
            <tiered>
                <volumes>
                    <hot><disk>default</disk></hot>
                    <cold><disk>cold</disk></cold>
                </volumes>
            </tiered>
        </policies>
    </storage_configuration>
</clickhouse>
"""


def write_configuration(path: Path) -> Path:
    """Write the configuration of the data directory ``path`` and return the file."""
    cold = path / "cold"
    cold.mkdir(exist_ok=True)
    file = path / CONFIG_FILE
    file.write_text(_TEMPLATE.format(cold=escape(str(cold))), encoding="utf-8")
    return file
