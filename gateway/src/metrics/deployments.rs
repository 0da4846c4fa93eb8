//! How deployments are, by LiteLLM's names. Those who send calls to them know; the names stand here.

use std::collections::BTreeMap;

use super::page::Page;

/// What LiteLLM's dashboards know of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeploymentState {
    /// Its last attempt was answered.
    Healthy = 0,
    /// Its last attempt failed.
    Partial = 1,
    /// It is left out for a while.
    Outage = 2,
}

/// A deployment's attempts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeploymentCounts {
    /// All that ended.
    pub total: u64,
    /// Those that were answered.
    pub succeeded: u64,
    /// Those that failed, by status or word.
    pub failed: BTreeMap<&'static str, u64>,
    /// How often it was left out, by the status or word of the last failure.
    pub cooled_down: BTreeMap<&'static str, u64>,
}

/// One deployment.
#[derive(Debug)]
pub struct DeploymentReport<'a> {
    /// The model by the provider's name, the deployment's identifier, the provider.
    pub names: [&'a str; 3],
    /// How it is.
    pub state: DeploymentState,
    /// What came of its attempts.
    pub counts: DeploymentCounts,
}

const LABELS: [&str; 3] = ["litellm_model_name", "model_id", "api_provider"];

impl Page {
    /// Writes how deployments are.
    pub fn deployments(&mut self, reports: &[DeploymentReport<'_>]) {
        type Pick = fn(&DeploymentCounts) -> u64;
        type ByStatus = fn(&DeploymentCounts) -> &BTreeMap<&'static str, u64>;
        let help = "0 while a deployment answers, 1 when its last attempt failed, 2 while it is left out.";
        let mut samples = self.gauge("litellm_deployment_state", help);
        reports.iter().for_each(|report| samples.count(report.labels(), report.state as u64));
        let wholes: [(&str, &str, Pick); 2] = [
            ("litellm_deployment_total_requests_total", "Attempts that ended.", |counts| counts.total),
            ("litellm_deployment_success_responses_total", "Attempts that were answered.", |counts| counts.succeeded),
        ];
        for (name, help, pick) in wholes {
            let mut samples = self.counter(name, help);
            reports.iter().for_each(|report| samples.count(report.labels(), pick(&report.counts)));
        }
        let by_status: [(&str, &str, ByStatus); 2] = [
            ("litellm_deployment_failure_responses_total", "Attempts that failed.", |counts| &counts.failed),
            ("litellm_deployment_cooled_down_total", "Times that a deployment was left out.", |counts| {
                &counts.cooled_down
            }),
        ];
        for (name, help, pick) in by_status {
            let mut samples = self.counter(name, help);
            for report in reports {
                for (status, count) in pick(&report.counts) {
                    samples.count(report.labels().chain([("exception_status", *status)]), *count);
                }
            }
        }
    }
}

impl<'a> DeploymentReport<'a> {
    fn labels(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let labels: [&'a str; 3] = LABELS;
        labels.into_iter().zip(self.names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployments_state_is_a_number_and_its_failures_have_a_status() {
        let mut page = Page::default();
        let failed = BTreeMap::from([("429", 3), ("timeout", 1)]);
        let counts = DeploymentCounts { total: 9, succeeded: 5, failed, cooled_down: BTreeMap::from([("429", 2)]) };
        page.deployments(&[DeploymentReport {
            names: ["gpt-x", "d1", "openai"],
            state: DeploymentState::Outage,
            counts,
        }]);
        let text = page.finish();
        let labels = "litellm_model_name=\"gpt-x\",model_id=\"d1\",api_provider=\"openai\"";
        for line in [
            format!("litellm_deployment_state{{{labels}}} 2"),
            format!("litellm_deployment_total_requests_total{{{labels}}} 9"),
            format!("litellm_deployment_success_responses_total{{{labels}}} 5"),
            format!("litellm_deployment_failure_responses_total{{{labels},exception_status=\"timeout\"}} 1"),
            format!("litellm_deployment_cooled_down_total{{{labels},exception_status=\"429\"}} 2"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
