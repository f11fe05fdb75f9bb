"""
Tables that are printed behind the tests' own words: record_property("cell", (table, row, column, text)) in a test is one cell, also when tests run side
by side. A text "word: why" is shown as the word, and the why below the table. The cell of a test that fails is FAILED.
"""


def cells(terminalreporter):
    for how in ("passed", "failed"):
        for report in terminalreporter.stats.get(how, []):
            found = [value for name, value in report.user_properties if name == "cell"]
            if found:
                table, row, column, text = found[-1]
                yield table, row, column, "FAILED" if how == "failed" else text


def show(terminalreporter):
    tables = {}
    for table, row, column, text in cells(terminalreporter):
        tables.setdefault(table, {})[tuple(row), tuple(column)] = text
    for name, table in tables.items():
        rows, columns = (sorted({key[i] for key in table}) for i in (0, 1))
        notes = {}
        for key, text in table.items():
            word, _, why = text.partition(": ")
            if why:
                notes.setdefault((word, why), len(notes) + 1)
                table[key] = f"{word} [{notes[word, why]}]"
        first = max(len(row[1]) for row in rows)
        widths = [max(len(column[1]), *(len(table.get((row, column), "")) for row in rows)) for column in columns]
        terminalreporter.write_line("")
        terminalreporter.write_line(f"{name:{first}}  " + "  ".join(f"{c[1]:{w}}" for c, w in zip(columns, widths)))
        for row in rows:
            terminalreporter.write_line(f"{row[1]:{first}}  " + "  ".join(f"{table.get((row, c), ''):{w}}" for c, w in zip(columns, widths)))
        for (word, why), number in notes.items():
            terminalreporter.write_line(f"[{number}] {why}")
