"""The commands, a file per section of ``study --help``.

In: words of a shell. Out: what one function of another room returns or prints. Each command parses, imports what it
needs when it is called, and calls that function, so that asking for help imports nothing heavy. Open `options` first,
then `running` (trials), `looking` (what is there), `taking` (what is made of it), `planning` (before it runs) or
`clearing` (removal); `study.cli` puts them together.
"""
