"""``python -m weir`` is ``weir``."""

from weir.cli.main import main

main()
