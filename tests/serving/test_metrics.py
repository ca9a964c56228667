"""The text format of Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/"""

from decant.serving.metrics import Metrics


def test_counters_have_help_type_and_escaped_labels() -> None:
    metrics = Metrics()
    metrics.count("decant_images_total", by=2, model='a"b\\c\nd', outcome="predicted")
    lines = metrics.text({("decant_waiting_images", ()): 3}).splitlines()
    at = lines.index('decant_images_total{model="a\\"b\\\\c\\nd",outcome="predicted"} 2')
    assert lines[at - 1] == "# TYPE decant_images_total counter" and lines[at - 2].startswith("# HELP")
    assert "decant_waiting_images 3" in lines and "# TYPE decant_waiting_images gauge" in lines


def test_the_buckets_of_a_histogram_count_everything_up_to_their_limit() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.005, 0.25, 0.5, 99):
        metrics.observe(seconds)
    text = metrics.text({})
    lines = text.splitlines()
    for limit, count in (("0.005", 2), ("0.1", 2), ("0.25", 3), ("0.5", 4), ("10.0", 4), ("+Inf", 5)):
        assert f'decant_request_seconds_bucket{{le="{limit}"}} {count}' in lines
    assert "decant_request_seconds_count 5" in lines and "decant_request_seconds_sum 99.756" in text
