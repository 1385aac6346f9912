"""`python -m study`."""

from study.cli.app import main

main()
