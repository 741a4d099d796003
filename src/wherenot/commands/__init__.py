"""What each command does, once its arguments are parsed."""

from __future__ import annotations

from wherenot import cli
from wherenot.commands.results import speaking


def run(command: cli.Command | cli.Data | cli.Bench) -> None:
    """Run a parsed command, as loud as it says; what it needs is imported when it runs."""
    with speaking((command.action if isinstance(command, cli.Data | cli.Bench) else command).output):
        _run(command)


def _run(command: object) -> None:
    match command:
        case cli.Demo(gui=True):
            from wherenot.demo_gui import run_demo_gui

            run_demo_gui(command.out, command.seed)
        case cli.Demo():
            from wherenot.demo import run_demo

            run_demo(command.out, command.seed)
        case cli.Explain():
            from wherenot.commands.explain import run_explain

            run_explain(command)
        case cli.Audit():
            from wherenot.commands.audit import run_audit

            run_audit(command)
        case cli.Train():
            from wherenot.commands.train import run_train

            run_train(command)
        case cli.TrainAgent():
            from wherenot.commands.train import run_train_agent

            run_train_agent(command)
        case cli.Compare():
            from wherenot.commands.audit import run_compare

            run_compare(command.runs, command.out)
        case cli.Report():
            from wherenot.commands.audit import run_report

            run_report(command)
        case cli.Figures():
            from wherenot.commands.figures import run_figures

            run_figures(command)
        case cli.Export():
            from wherenot.commands.export import run_export

            run_export(command)
        case cli.Bench():
            from wherenot.commands.bench import run_bench

            run_bench(command.action)
        case cli.Data():
            from wherenot.commands.data import run_data

            run_data(command.action)
        case cli.Screens():
            from wherenot.commands.screens import run_screens

            run_screens(command)
        case cli.Reproduce():
            from wherenot.commands.reproduce import run_reproduce

            run_reproduce(command)
        case cli.Advise():
            from wherenot.commands.audit import run_advise

            run_advise(command)
        case cli.Doctor():
            from wherenot.commands.doctor import run_doctor

            run_doctor(command)
        case _:
            raise AssertionError(f"no such command: {command}")
