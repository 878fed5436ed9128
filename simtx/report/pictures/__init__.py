"""Pictures, one per question: functions that take the data first, draw on matplotlib Axes and return them.

Results offer them by completion (`run.plot.<TAB>`), through the classes of `simtx.report.pictures.accessors`.
"""
