"""What the dashboards show: for each the panels, each with its queries.

`$__rate_interval` is Grafana's; `query` replaces it when it runs the queries against a Prometheus.
"""

from typing import NamedTuple


class Query(NamedTuple):
    """A query in PromQL, and how its series are named."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """One diagram: its unit is a name of Grafana's."""

    title: str
    unit: str
    queries: list[Query]
    description: str = ""


class Dashboard(NamedTuple):
    """One dashboard; its name is that of its file."""

    name: str
    title: str
    panels: list[Panel]


def rate(metric, by="", labels=""):
    """The sum of a counter's rate, by these labels."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantile(share, metric, by="", labels=""):
    """A quantile of a histogram, by these labels."""
    grouped = ", ".join(filter(None, ["le", by]))
    return f"histogram_quantile({share}, {rate(metric + '_bucket', grouped, labels)})"


def quantiles(metric, labels=""):
    """The median and the slow end of a histogram."""
    return [Query(quantile(share, metric, labels=labels), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


PAY = 'method=~"Pay|PayStream|http_Payment"'
DECIDED = 'step=~"paid|failed_.*"'
NO_DECISION = 'outcome=~"undecided|malformed|timed_out|disconnected"'

OVERVIEW = Dashboard("overview", "twqr: overview", [
    Panel("Payments per second", "reqps", [Query(rate("twqr_ingress_calls_total", "code", PAY), "{{code}}")]),
    Panel("Answers of payments", "s", quantiles("twqr_ingress_call_duration_seconds", PAY),
          "From the call's arrival to its answer. The objective is 2 s."),
    Panel("Calls per second", "reqps", [Query(rate("twqr_ingress_calls_total", "method"), "{{method}}")]),
    Panel("Time until payments are final", "s", quantiles("twqr_router_payment_final_seconds"),
          "From the acceptance. The objective is 60 s."),
    Panel("Objectives: share of errors", "percentunit", [
        Query("twqr:answer_errors:ratio_rate5m", "not answered within 2 s"),
        Query("twqr:final_errors:ratio_rate5m", "not final within 60 s"),
    ]),
    Panel("Time of a call by hop, median", "s", [
        Query(quantile(0.5, "twqr_ingress_hop_duration_seconds", "hop"), "{{hop}}")],
        "Only calls that ask for their hops are measured."),
    Panel("Orders in progress", "short", [
        Query("sum(max by (shard) (twqr_tracker_in_progress_orders))", "all"),
        Query("sum by (than) (max by (shard, than) (twqr_tracker_in_progress_older_orders))", "older than {{than}} s"),
        Query("sum(max by (shard) (twqr_tracker_attention_orders))", "need an operator"),
    ]),
    Panel("Age of the oldest order in progress", "s", [Query("max(twqr_tracker_oldest_in_progress_seconds)", "oldest")]),
    Panel("Steps of orders per second", "reqps", [Query(rate("twqr_router_steps_total", "step"), "{{step}}")]),
    Panel("Refused calls per second", "reqps", [
        Query(rate("twqr_ingress_calls_shed_total", "reason"), "{{reason}}")]),
    Panel("Repeats per second", "reqps", [
        Query(rate("twqr_ingress_repeats_total", "how"), "at the ingress, {{how}}"),
        Query(rate("twqr_router_steps_total", "", 'step="repeated"'), "at the router"),
        Query(rate("twqr_worker_tasks_total", "", 'reading="repeated"'), "tasks at the worker"),
    ]),
    Panel("Contradictions, dead letters, lost replies", "short", [
        Query(rate("twqr_router_steps_total", "", 'step="contradicted"'), "contradictions"),
        Query(" + ".join(rate(f"twqr_{part}_dead_letters_total") for part in ["ingress", "router", "worker", "tracker"]),
              "dead letters"),
        Query(rate("twqr_router_replies_lost_total"), "lost replies"),
    ]),
    Panel("Parts that are not ready (2) or degraded (1)", "short", [
        Query("max by (part) (twqr_part_state)", "{{part}}")]),
    Panel("Operators' API", "reqps", [Query(rate("twqr_tracker_calls_total", "method, code"), "{{method}} {{code}}")]),
])

ISSUERS = Dashboard("issuers", "twqr: issuers", [
    Panel("Transfers per second", "reqps", [
        Query(rate("twqr_worker_calls_total", "issuer", 'purpose="transfer"'), "{{issuer}}")]),
    Panel("Transfers without a decision", "percentunit", [
        Query(f'{rate("twqr_worker_calls_total", "issuer", NO_DECISION)} / {rate("twqr_worker_calls_total", "issuer")}',
              "{{issuer}}")]),
    Panel("Time of a transfer, p95", "s", [
        Query(quantile(0.95, "twqr_worker_call_duration_seconds", "issuer", 'purpose="transfer"'), "{{issuer}}")]),
    Panel("Outcomes of calls per second", "reqps", [
        Query(rate("twqr_worker_calls_total", "purpose, outcome"), "{{purpose}} {{outcome}}")]),
    Panel("Circuit (1: open)", "short", [Query("max by (issuer) (twqr_worker_circuit_open)", "{{issuer}}")]),
    Panel("Transfers in flight and their limit", "short", [
        Query("sum by (issuer) (twqr_worker_transfers_in_flight)", "{{issuer}}"),
        Query("sum by (issuer) (twqr_worker_transfers_in_flight_limit)", "{{issuer}} limit"),
    ]),
    Panel("Transfers that wait, and the limit", "short", [
        Query("sum by (issuer) (twqr_worker_queued_transfers)", "{{issuer}}"),
        Query("sum by (issuer) (twqr_worker_queued_transfers_limit)", "{{issuer}} limit"),
    ]),
    Panel("Calls that were not made per second", "reqps", [
        Query(rate("twqr_worker_calls_not_made_total", "issuer, reason"), "{{issuer}} {{reason}}")]),
    Panel("Inquiries per second and the budget", "reqps", [
        Query(rate("twqr_worker_calls_total", "issuer", 'purpose="inquiry"'), "{{issuer}}"),
        Query("max by (issuer) (twqr_worker_inquiries_per_second_limit)", "{{issuer}} budget"),
    ]),
    Panel("Wait for the budget of inquiries", "s", [
        Query("max by (issuer) (twqr_tracker_inquiry_budget_delay_seconds)", "{{issuer}}")]),
    Panel("Payments in progress", "short", [
        Query("max by (issuer) (twqr_tracker_in_progress_by_issuer_orders)", "{{issuer}}")]),
    Panel("Time until payments are final, p95", "s", [
        Query(quantile(0.95, "twqr_router_payment_final_seconds", "issuer"), "{{issuer}}")]),
    Panel("Results of movements per second", "reqps", [
        Query(rate("twqr_router_outcomes_total", "issuer, step"), "{{issuer}} {{step}}")]),
    Panel("Transfers sent again per second", "reqps", [
        Query(rate("twqr_worker_resent_transfers_total", "issuer"), "{{issuer}}")],
        "Only idempotent movements are sent again, after a worker has ended."),
    Panel("Connections to the backends", "short", [
        Query("sum by (backend) (twqr_worker_connections)", "{{backend}}"),
        Query(rate("twqr_worker_connections_lost_total", "backend"), "{{backend}} lost per second"),
    ]),
])

SHARDS = Dashboard("shards", "twqr: shards", [
    Panel("Owners of each shard", "short", [Query("sum by (shard) (twqr_router_shard_owned)", "shard {{shard}}")]),
    Panel("Records behind", "short", [Query("max by (part) (twqr_consumer_lag_records)", "{{part}}")]),
    Panel("Applied records per second", "reqps", [
        Query("max by (part) (deriv(twqr_consumer_applied_position[$__rate_interval]))", "{{part}}")]),
    Panel("Age of waiting checkpoints", "s", [
        Query("max by (shard) (twqr_router_checkpoint_age_seconds)", "shard {{shard}}")]),
    Panel("Time of a batch", "s", quantiles("twqr_router_batch_duration_seconds"),
          "From reading a batch until its effects are acknowledged."),
    Panel("Records in a batch", "short", quantiles("twqr_router_batch_records")),
    Panel("Restores", "short", [Query("sum(twqr_router_restore_duration_seconds_count)", "since the start"),
                                Query("sum(twqr_router_restore_duration_seconds_sum)", "seconds in all")]),
    Panel("States written and read per second", "reqps", [
        Query(rate("twqr_router_checkpoint_states_total"), "checkpoints"),
        Query(rate("twqr_router_states_read_total", "by"), "read by a {{by}}"),
        Query(rate("twqr_tracker_states_total"), "read model"),
    ]),
    Panel("Orders in progress by shard", "short", [
        Query("max by (shard) (twqr_tracker_in_progress_orders)", "shard {{shard}}")]),
    Panel("Records that the read model lacks", "short", [
        Query("max by (shard) (twqr_tracker_read_model_unwritten_records)", "shard {{shard}}")]),
    Panel("Tasks that are not finished", "short", [
        Query("sum by (topic, partition) (twqr_worker_unfinished_tasks)", "{{topic}}/{{partition}}")]),
    Panel("Restarts of stalled consumers", "short", [
        Query("sum by (part) (increase(twqr_consumer_stalled_total[$__rate_interval]))", "{{part}}")]),
])

KAFKA = Dashboard("kafka", "twqr: Kafka", [
    Panel("Brokers with a connection", "short", [Query("max by (broker) (twqr_kafka_broker_up)", "broker {{broker}}")]),
    Panel("Answers of brokers, p99", "s", [Query("max by (broker) (twqr_kafka_broker_rtt_seconds)", "broker {{broker}}")]),
    Panel("Failed or repeated requests per second", "reqps", [
        Query(rate("twqr_kafka_broker_errors_total", "broker"), "broker {{broker}}")]),
    Panel("Messages sent per second", "reqps", [Query(rate("twqr_kafka_sent_messages_total", "job"), "{{job}}")]),
    Panel("Bytes sent per second", "Bps", [Query(rate("twqr_kafka_sent_bytes_total", "job"), "{{job}}")]),
    Panel("Messages that wait in producers", "short", [Query("sum by (job) (twqr_kafka_queued_messages)", "{{job}}")]),
    Panel("Append of outcomes", "s", quantiles("twqr_worker_outcome_append_seconds"),
          "The journal's time for an append as the worker sees it."),
    Panel("Delay of decisions", "s", [Query("max by (instance) (twqr_ingress_decision_delay_seconds)", "{{instance}}")],
          "From an append until a router's answer; above admission.delay_ms calls are refused."),
    Panel("Failed appends per second", "reqps", [
        Query(rate("twqr_journal_append_failures_total", "instance"), "{{instance}}")]),
    Panel("Clock ahead of the brokers", "s", [Query("max by (instance) (twqr_clock_skew_seconds)", "{{instance}}")],
          "At least; 0 if it may be right."),
])

CAPACITY = Dashboard("capacity", "twqr: capacity", [
    Panel("CPU", "short", [Query(rate("process_cpu_seconds_total", "job, instance"), "{{job}} {{instance}}")],
          "In cores."),
    Panel("CPU for each payment", "s", [
        Query(f'{rate("process_cpu_seconds_total")} / {rate("twqr_router_steps_total", "", DECIDED)}', "all processes")]),
    Panel("Memory", "bytes", [Query("sum by (job, instance) (process_resident_memory_bytes)", "{{job}} {{instance}}")]),
    Panel("Open files, and their limit", "percentunit", [
        Query("process_open_fds / process_max_fds", "{{job}} {{instance}}")]),
    Panel("Threads", "short", [Query("process_threads", "{{job}} {{instance}}")]),
    Panel("Free space in data_dir", "percentunit", [
        Query("twqr_data_dir_available_bytes / twqr_data_dir_size_bytes", "{{job}} {{instance}}")]),
    Panel("Undecided calls, and their limit", "short", [
        Query("sum(twqr_ingress_calls_undecided)", "undecided"),
        Query("sum(twqr_ingress_calls_undecided_limit)", "limit"),
    ]),
    Panel("Calls that wait, streams, watches", "short", [
        Query("sum(twqr_ingress_calls_waiting)", "calls"),
        Query("sum(twqr_ingress_streams)", "streams"),
        Query("sum(twqr_ingress_watches)", "watches"),
    ]),
    Panel("Refused connections per second", "reqps", [
        Query(rate("twqr_connections_refused_total", "listener"), "{{listener}}")]),
    Panel("Builds", "short", [Query("count by (version) (twqr_build_info)", "{{version}}")]),
])

DASHBOARDS = [OVERVIEW, ISSUERS, SHARDS, KAFKA, CAPACITY]
