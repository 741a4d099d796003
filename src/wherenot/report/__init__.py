"""Reports on audits: run folders in, one self-contained HTML page or a comparison table out."""

from wherenot.report.agents import clicks_figure as clicks_figure
from wherenot.report.agents import failures_figure as failures_figure
from wherenot.report.agents import thinking_figure as thinking_figure
from wherenot.report.answers import answer_figure as answer_figure
from wherenot.report.comparison import ComparisonRow as ComparisonRow
from wherenot.report.comparison import comparison_rows as comparison_rows
from wherenot.report.content import Content as Content
from wherenot.report.content import build_content as build_content
from wherenot.report.figures import evidence_figure as evidence_figure
from wherenot.report.figures import png_bytes as png_bytes
from wherenot.report.html import render_html as render_html
from wherenot.report.html import write_report as write_report
from wherenot.report.runs import Run as Run
from wherenot.report.runs import load_run as load_run
from wherenot.report.stored import load_evidence as load_evidence
from wherenot.report.studies import Point as Point
from wherenot.report.studies import Shown as Shown
from wherenot.report.studies import evidence_grid as evidence_grid
from wherenot.report.studies import sweep_figure as sweep_figure
from wherenot.report.table import comparison_markdown as comparison_markdown
from wherenot.report.table import comparison_table as comparison_table
from wherenot.report.table import warnings_markdown as warnings_markdown
