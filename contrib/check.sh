#!/bin/sh
# Checks everything in this folder: rules and their tests, the scrape configuration, the dashboard.
# Needs promtool (it comes with Prometheus; Debian: apt-get install prometheus) and python3.
set -eu
cd "$(dirname "$0")"

for tool in promtool python3; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "check.sh: $tool is missing, so nothing was checked" >&2
        exit 1
    fi
done

promtool check rules prometheus/rules.yaml
(cd prometheus && promtool test rules rules_test.yaml)

# Debian builds Prometheus without service discovery for Kubernetes, and its promtool does not know the section.
# There the job is checked with a list of targets in its place: all but those two lines.
scrape=prometheus/scrape.yaml
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
cat >"$probe/kubernetes.yaml" <<'YAML'
scrape_configs: [{ job_name: probe, kubernetes_sd_configs: [{ role: pod }] }]
YAML
if promtool check config "$probe/kubernetes.yaml" >/dev/null 2>&1; then
    promtool check config "$scrape"
else
    echo "check.sh: this promtool is built without Kubernetes; kubernetes_sd_configs itself is not checked" >&2
    cp prometheus/rules.yaml "$probe/"
    sed -e 's/^  kubernetes_sd_configs:$/  static_configs:/' -e 's/^  - role: pod$/  - targets: []/' "$scrape" >"$probe/scrape.yaml"
    promtool check config "$probe/scrape.yaml"
fi

python3 -m json.tool grafana/dashboard.json >/dev/null
echo "check.sh: all is well"
