//! Gates on the branches of a residual backbone.

use std::sync::Arc;

use attention::DiaLstm;
use backbone::{BackboneConfig, Branch, BranchScale};
use candle_core::Tensor;
use candle_nn::VarBuilder;

/// One [`DiaLstm`] a stage, shared by the branches of its blocks.
struct DiaOfStages(Vec<DiaLstm>);

impl BranchScale for DiaOfStages {
    fn scaled(
        &self,
        branch: &Branch,
        y: &Tensor,
        memory: &mut Vec<Tensor>,
    ) -> Result<Tensor, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0[branch.group].scaled(y, memory)?)
    }
}

/// The gates of `backbone`, with parameters `<group>.*` of `vb`.
///
/// # Errors
///
/// A configuration that cannot work.
pub(crate) fn dia(
    backbone: &BackboneConfig,
    vb: &VarBuilder<'_>,
) -> anyhow::Result<Arc<dyn BranchScale>> {
    let mut cells = Vec::new();
    for branch in backbone.branches()? {
        if branch.group == cells.len() {
            cells.push(DiaLstm::new(branch.channels, &vb.pp(branch.group))?);
        }
    }
    Ok(Arc::new(DiaOfStages(cells)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{DType, Device};

    use super::*;
    use crate::parameters::Parameters;

    #[test]
    fn a_stage_has_one_cell_that_goes_on_from_block_to_block() {
        let config = serde_json::json!({ "kind": "resnet-18", "width": 8, "blocks": [2, 1] });
        let config: BackboneConfig = serde_json::from_value(config).unwrap();
        let parameters = Parameters::new(0, BTreeMap::new(), &Device::Cpu);
        let scale = dia(&config, &parameters.builder()).unwrap();
        let groups: std::collections::BTreeSet<String> = parameters
            .all()
            .keys()
            .filter_map(|name| Some(name.split_once('.')?.0.to_owned()))
            .collect();
        assert!(groups.into_iter().eq(["0".to_owned(), "1".to_owned()]));
        let branches = config.branches().unwrap();
        let map = Tensor::ones((1, 8, 3, 3), DType::F32, &Device::Cpu).unwrap();
        let mut memory = Vec::new();
        let mut of = |branch| scale.scaled(branch, &map, &mut memory).unwrap();
        let gate = |map: Tensor| map.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (first, second) = (gate(of(&branches[0])), gate(of(&branches[1])));
        assert!(first.iter().all(|g| (0.0..1.0).contains(g)));
        assert_ne!(first, second, "the same map, after another");
    }
}
