"""`python -m dcgan.cli`."""

from dcgan.cli.app import main

main()
