"""`python -m dcgan`."""

from dcgan.cli.app import main

main()
