//! What is packed against what was trained, and the published formulas.

use candle_core::{Device, Var};
use proptest::prelude::*;

use super::*;

fn bitwidth(bits: u8) -> Bitwidth {
    Bitwidth::new(bits).unwrap()
}

fn faked(quantizer: Quantizer, weights: &[f32], steps: &[f32], bits: Bitwidth) -> Vec<f32> {
    let shape = (steps.len(), weights.len() / steps.len());
    let weight = Var::from_slice(weights, shape, &Device::Cpu).unwrap();
    let step = Var::from_slice(steps, steps.len(), &Device::Cpu).unwrap();
    quantizer.fake_quantize(&weight, &step, bits).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn weights() -> impl Strategy<Value = Vec<f32>> {
    (1usize..20).prop_flat_map(|columns| proptest::collection::vec(-1.6f32..1.6, 3 * columns))
}

proptest! {
    #[test]
    fn packed_codes_stand_for_what_training_saw(weights in weights(), bits in 1u8..=8, which in 0usize..3) {
        let (quantizer, bits) = ([Quantizer::Scaled, Quantizer::Dorefa, Quantizer::Wrpn][which], bitwidth(bits));
        prop_assume!(quantizer.check([bits].into_iter()).is_ok());
        let steps = quantizer.steps(&weights, 3, bits);
        let packed = quantizer.quantize(&weights, &steps, bits);
        prop_assert!(packed.codes.iter().all(|&code| u32::from(code) < bits.levels()));
        prop_assert_eq!(packed.dequantized(), faked(quantizer, &weights, &steps, bits));
    }

    #[test]
    fn wrpn_is_the_published_formula(weights in weights(), bits in 2u8..=8) {
        let bits = bitwidth(bits);
        let scale = f64::from(bits.levels() / 2 - 1);
        let steps = Quantizer::Wrpn.steps(&weights, 3, bits);
        for (weight, rounded) in weights.iter().zip(faked(Quantizer::Wrpn, &weights, &steps, bits)) {
            let place = scale * f64::from(*weight).clamp(-1.0, 1.0);
            // A weight halfway between two levels may go either way.
            prop_assume!((place - place.floor() - 0.5).abs() > 1e-4);
            prop_assert!((place.round() / scale - f64::from(rounded)).abs() < 1e-5, "{weight} to {rounded}");
        }
    }

    #[test]
    fn dorefa_is_the_published_formula(weights in weights(), bits in 1u8..=8) {
        let bits = bitwidth(bits);
        let largest = weights.iter().fold(0.0f64, |largest, &weight| largest.max(f64::from(weight).tanh().abs()));
        let scale = f64::from(bits.levels() - 1);
        let steps = Quantizer::Dorefa.steps(&weights, 3, bits);
        for (weight, rounded) in weights.iter().zip(faked(Quantizer::Dorefa, &weights, &steps, bits)) {
            let place = scale * (f64::from(*weight).tanh() / (2.0 * largest) + 0.5);
            prop_assume!((place - place.floor() - 0.5).abs() > 1e-3);
            prop_assert!((2.0 * place.round() / scale - 1.0 - f64::from(rounded)).abs() < 1e-5, "{weight} to {rounded}");
        }
    }

    #[test]
    fn gradients_pass_straight_through(weights in weights(), bits in 2u8..=8, dorefa: bool) {
        let quantizer = if dorefa { Quantizer::Dorefa } else { Quantizer::Wrpn };
        let weight = Var::from_slice(&weights, (3, weights.len() / 3), &Device::Cpu).unwrap();
        let step = Var::from_vec(quantizer.steps(&weights, 3, bitwidth(bits)), 3, &Device::Cpu).unwrap();
        let gradients = |own: bool| -> Vec<f32> {
            let sum = || quantizer.fake_quantize(&weight, &step, bitwidth(bits))?.sum_all();
            let sum = if own { sum() } else { crate::compute::stock_only(sum) };
            let gradients = sum.unwrap().backward().unwrap();
            assert!(gradients.get(&step).is_none(), "the step is a constant");
            gradients.get(&weight).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let largest = weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs())).tanh();
        for ((&weight, own), stock) in weights.iter().zip(gradients(true)).zip(gradients(false)) {
            prop_assume!((weight.abs() - 1.0).abs() > 1e-4);
            let expected = match dorefa {
                true => (1.0 - weight.tanh().powi(2)) / largest,
                false => f32::from(u8::from(weight.abs() < 1.0)),
            };
            prop_assert!((own - expected).abs() < 1e-3 * (1.0 + expected), "{own}, not {expected}");
            // Candle's clamp has half a gradient at its bound, where DoReFa's largest weight may lie.
            prop_assert!((own - stock).abs() < 1e-3 * (1.0 + expected), "{own} and {stock}");
        }
    }
}

#[test]
fn wrpn_is_refused_at_one_bit_and_says_what_to_choose() {
    let error = Quantizer::Wrpn.check([bitwidth(3), Bitwidth::MIN].into_iter()).unwrap_err().to_string();
    assert!(error.contains("2 bits or more") && error.contains("scaled"), "{error}");
    assert!(Quantizer::Wrpn.check([bitwidth(2)].into_iter()).is_ok());
    assert!(Quantizer::Dorefa.check([Bitwidth::MIN].into_iter()).is_ok());
}

#[test]
fn dorefa_at_one_bit_is_a_sign() {
    let weights = [0.3, -0.2, 0.9, -0.01];
    let steps = Quantizer::Dorefa.steps(&weights, 1, Bitwidth::MIN);
    assert_eq!(Quantizer::Dorefa.quantize(&weights, &steps, Bitwidth::MIN).dequantized(), [1.0, -1.0, 1.0, -1.0]);
}

#[test]
fn quantisers_are_found_by_their_names() {
    for quantizer in [Quantizer::Scaled, Quantizer::Dorefa, Quantizer::Wrpn] {
        assert_eq!(Quantizer::of_name(quantizer.name()).unwrap(), quantizer);
        assert_eq!(serde_json::to_string(&quantizer).unwrap(), format!("{:?}", quantizer.name()));
    }
    assert!(Quantizer::of_name("other").is_err());
}
