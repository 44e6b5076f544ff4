"""The command `minigan`, also as `python -m minigan`."""

try:
    import signal  # which loads enum first: Ctrl-C may come meanwhile
except KeyboardInterrupt:
    raise SystemExit(130) from None


def main() -> None:
    """Run the command line and leave with its exit code."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as a shell's background job has it
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while NumPy is loaded ends all, without a traceback
    from minigan.cli.main import main as command_line
    signal.signal(signal.SIGINT, before)
    command_line()


if __name__ == "__main__":
    main()
