"""`opentelemetry-instrument python program.py` registers the processor, for real."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.distro")

INSTRUMENT = Path(sys.executable).parent / "opentelemetry-instrument"

PROGRAM = """
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span("root") as span:
    pass
import spanprof
print(spanprof.stats()["spans_started"], "pyroscope.profile.id" in span.attributes)
"""

OWN_PROVIDER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
"""

OWN_PROCESSOR = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from spanprof import PyroscopeSpanProcessor
provider = TracerProvider()
provider.add_span_processor(PyroscopeSpanProcessor())
trace.set_tracer_provider(provider)
"""


def run(tmp_path, program, **environment):
    path = tmp_path / "app.py"
    path.write_text(program)
    result = subprocess.run(
        [INSTRUMENT, "python", path],
        env={
            **os.environ,
            "PATH": f"{INSTRUMENT.parent}{os.pathsep}{os.environ['PATH']}",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip(), result.stderr


def test_with_a_distribution(tmp_path):
    assert run(tmp_path, PROGRAM) == ("1 True", "")


def test_without_a_distribution_the_program_sets_the_provider(tmp_path):
    environment = {"OTEL_PYTHON_DISTRO": "none", "OTEL_PYTHON_CONFIGURATOR": "none"}
    assert run(tmp_path, OWN_PROVIDER + PROGRAM, **environment)[0] == "1 True"


def test_a_program_that_registers_it_itself_gets_it_once(tmp_path):
    environment = {"OTEL_PYTHON_DISTRO": "none", "OTEL_PYTHON_CONFIGURATOR": "none"}
    assert run(tmp_path, OWN_PROCESSOR + PROGRAM, **environment)[0] == "1 True"


def test_can_be_disabled(tmp_path):
    environment = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "spanprof"}
    assert run(tmp_path, PROGRAM, **environment) == ("0 False", "")


def test_active_spans(tmp_path):
    program = PROGRAM.replace(
        "    pass", "    with trace.get_tracer('x').start_as_current_span('y') as span: pass"
    )
    assert run(tmp_path, program, SPANPROF_SPAN_LABEL="active") == ("2 True", "")
    assert run(tmp_path, program) == ("2 False", "")


def test_a_wrong_label_is_no_reason_to_fail(tmp_path):
    output, errors = run(tmp_path, PROGRAM, SPANPROF_SPAN_LABEL="leaf")
    assert output == "1 True"
    assert "SPANPROF_SPAN_LABEL is ignored" in errors
