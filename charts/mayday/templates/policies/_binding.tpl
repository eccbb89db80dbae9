{{- /* The binding of an admission policy: it refuses, everywhere. */}}
{{- define "mayday.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels: {{- include "mayday.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end }}

{{- /* Whether the request's namespace is being deleted, as a variable of a policy. */}}
{{- define "mayday.terminating" -}}
- name: terminating
  expression: namespaceObject != null && has(namespaceObject.metadata.deletionTimestamp)
{{- end }}
