//! The fast operations against candle's own and against finite differences.

use candle_core::{Device, Result, Tensor, Var};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn random(shape: &[usize], seed: u64) -> Var {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Var::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, a: &Tensor, b: &Tensor) {
    assert_eq!(a.shape(), b.shape(), "{what}");
    for (a, b) in values(a).into_iter().zip(values(b)) {
        assert!((a - b).abs() <= 1e-4 + 1e-3 * b.abs(), "{what}: {a} and {b}");
    }
}

/// Outputs and all gradients of two versions of one operation must agree, under a random weighting of the outputs.
fn assert_same(vars: &[Var], fast: impl Fn() -> Result<Tensor>, stock: impl Fn() -> Result<Tensor>) {
    let run = |version: &dyn Fn() -> Result<Tensor>| {
        let output = version().unwrap();
        let weighting = random(output.dims(), 99).as_tensor().detach();
        let grads = (&output * &weighting).unwrap().sum_all().unwrap().backward().unwrap();
        (output, vars.iter().map(|var| grads.get(var).unwrap().clone()).collect::<Vec<_>>())
    };
    let ((fast, fast_grads), (stock, stock_grads)) = (run(&fast), run(&stock));
    assert_close("output", &fast, &stock);
    for (index, (fast, stock)) in fast_grads.iter().zip(&stock_grads).enumerate() {
        assert_close(&format!("gradient {index}"), fast, stock);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn convolutions_equal_candles(
        n in 1usize..20, c in 1usize..4, o in 1usize..4, size in 5usize..9, kernel in 1usize..4,
        stride in 1usize..3, padding in 0usize..2, groups in 1usize..3, seed: u64,
    ) {
        // Candle differentiates strided convolutions of squares only; the test of slopes has the others.
        let config = Conv2dConfig { stride: (stride, stride), padding: (padding, padding), groups };
        let input = random(&[n, c * groups, size, size], seed);
        let weight = random(&[o * groups, c, kernel, kernel], seed ^ 1);
        let bias = random(&[o * groups], seed ^ 2);
        assert_same(
            &[input.clone(), weight.clone(), bias.clone()],
            || conv2d(&input, &weight, Some(&bias), config),
            || stock::conv2d(&input, &weight, Some(&bias), config),
        );
        assert_same(
            &[input.clone(), weight.clone()],
            || conv2d(&input, &weight, None, config),
            || stock::conv2d(&input, &weight, None, config),
        );
    }

    #[test]
    fn dense_layers_equal_candles(n in 1usize..30, k in 1usize..30, o in 1usize..30, seed: u64) {
        let (input, weight, bias) = (random(&[n, k], seed), random(&[o, k], seed ^ 1), random(&[o], seed ^ 2));
        assert_same(
            &[input.clone(), weight.clone(), bias.clone()],
            || linear(&input, &weight, Some(&bias)),
            || stock::linear(&input, &weight, Some(&bias)),
        );
    }

    #[test]
    fn poolings_equal_candles(n in 1usize..5, c in 1usize..4, size in 1usize..4, h in 4usize..9, w in 4usize..9, seed: u64) {
        // Candle differentiates poolings whose stride is their size, and whose windows cover the input.
        let input = random(&[n, c, h / size * size, w / size * size], seed);
        assert_same(
            std::slice::from_ref(&input),
            || max_pool2d(&input, (size, size), (size, size)),
            || stock::max_pool2d(&input, (size, size), (size, size)),
        );
    }

    #[test]
    fn batch_norms_equal_candles(n in 2usize..6, c in 1usize..5, h in 1usize..6, w in 2usize..6, seed: u64) {
        let (input, gamma, beta) = (random(&[n, c, h, w], seed), random(&[c], seed ^ 1), random(&[c], seed ^ 2));
        assert_same(
            &[input.clone(), gamma.clone(), beta.clone()],
            || Ok(batch_norm_train(&input, &gamma, &beta, 1e-2)?.0),
            || Ok(stock::batch_norm_train(&input, &gamma, &beta, 1e-2)?.0),
        );
        let fast = batch_norm_train(&input, &gamma, &beta, 1e-2).unwrap().1;
        let candle = stock::batch_norm_train(&input, &gamma, &beta, 1e-2).unwrap().1;
        assert_close("mean", &fast.mean, &candle.mean);
        assert_close("variance", &fast.variance, &candle.variance);
    }

    #[test]
    fn fake_quantised_activations_equal_candles(zero_point: u8, scale in 0.001f32..0.02, seed: u64) {
        let input = random(&[3, 50], seed);
        // Off the ties and the ends, where the two may round apart.
        let clear = values(&input).into_iter().all(|x| {
            let place = f64::from(x / scale) + f64::from(zero_point);
            (place - place.floor() - 0.5).abs() > 1e-3 && place.abs() > 1e-3 && (place - 255.0).abs() > 1e-3
        });
        prop_assume!(clear);
        assert_same(
            std::slice::from_ref(&input),
            || fake_quantize_activations(&input, scale, zero_point),
            || stock::fake_quantize_activations(&input, scale, zero_point),
        );
    }

    #[test]
    fn fake_quantised_weights_equal_candles(bits in 1u32..6, step in 0.02f32..0.8, seed: u64) {
        let grid = WeightGrid { levels: 1 << bits, zero: (1 << bits) - 1, step_gradient_scale: 0.3 };
        let (weight, step) = (random(&[4, 3, 2, 2], seed), Var::from_vec(vec![step; 4], 4, &Device::Cpu).unwrap());
        assert_same(
            &[weight.clone(), step.clone()],
            || fake_quantize_weights(&weight, &step, grid),
            || stock::fake_quantize_weights(&weight, &step, grid),
        );
        let codes = weight_codes(&values(&weight), &values(&step), grid);
        let quantised = values(&fake_quantize_weights(&weight, &step, grid).unwrap());
        for ((code, step), quantised) in codes.iter().zip(values(&step).iter().flat_map(|s| [*s; 12])).zip(quantised) {
            prop_assert_eq!(step * (f32::from(*code) - grid.zero as f32 / 2.0), quantised);
        }
    }
}

/// The gradient of a weighted sum of outputs, by central differences.
fn finite_difference(var: &Var, index: usize, loss: impl Fn() -> f64) -> f64 {
    let (shape, original) = (var.shape().clone(), values(var));
    let at = |delta: f32| {
        let mut moved = original.clone();
        moved[index] += delta;
        var.set(&Tensor::from_vec(moved, &shape, &Device::Cpu).unwrap()).unwrap();
        loss()
    };
    let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
    var.set(&Tensor::from_vec(original.clone(), &shape, &Device::Cpu).unwrap()).unwrap();
    slope
}

#[test]
fn gradients_are_slopes() {
    let config = Conv2dConfig { stride: (2, 1), padding: (1, 0), groups: 2 };
    let (input, weight) = (random(&[2, 4, 6, 5], 1), random(&[6, 2, 3, 2], 2));
    let (gamma, beta) = (random(&[6], 3), random(&[6], 4));
    let loss = || {
        let convolved = conv2d(&input, &weight, None, config)?;
        let normal = batch_norm_train(&convolved, &gamma, &beta, 1e-1)?.0;
        let pooled = max_pool2d(&normal, (2, 2), (1, 2))?;
        let weighting = random(pooled.dims(), 5);
        (pooled * weighting.as_tensor().detach())?.sum_all()
    };
    let scalar = || f64::from(loss().unwrap().to_scalar::<f32>().unwrap());
    let grads = loss().unwrap().backward().unwrap();
    for var in [&input, &weight, &gamma, &beta] {
        let grad = values(grads.get(var).unwrap());
        for index in (0..grad.len()).step_by(grad.len().div_ceil(12)) {
            let slope = finite_difference(var, index, scalar);
            // A maximum that changes place within the difference bends the slope a little.
            assert!((slope - f64::from(grad[index])).abs() < 0.05 * (1.0 + slope.abs()), "{slope} and {}", grad[index]);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let step = || {
        let (input, weight) = (random(&[33, 3, 14, 14], 1), random(&[20, 3, 5, 5], 2));
        let (dense, bias) = (random(&[10, 500], 3), random(&[20], 4));
        let x = conv2d(&input, &weight, Some(&bias), Conv2dConfig::default()).unwrap();
        let x = relu(&max_pool2d(&x, (2, 2), (2, 2)).unwrap()).unwrap();
        let x = fake_quantize_activations(&x, 0.01, 0).unwrap();
        let logits = linear(&x.flatten_from(1).unwrap(), &dense, None).unwrap();
        let grads = logits.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        [&input, &weight, &dense, &bias].map(|var| values(grads.get(var).unwrap()))
    };
    let with = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(step);
    assert_eq!(with(1), with(2));
    assert_eq!(with(1), with(3));
}

#[test]
fn operations_that_do_not_fit_are_refused() {
    let (input, weight) = (random(&[1, 3, 4, 4], 1), random(&[2, 2, 3, 3], 2));
    assert!(conv2d(&input, &weight, None, Conv2dConfig::default()).is_err());
    assert!(max_pool2d(&input, (5, 5), (1, 1)).is_err());
    assert!(linear(&random(&[2, 3], 1), &random(&[4, 5], 2), None).is_err());
    assert!(
        fake_quantize_weights(&weight, &random(&[3], 3), WeightGrid { levels: 2, zero: 1, step_gradient_scale: 1.0 })
            .is_err()
    );
}

#[test]
fn a_nan_stays_visible() {
    let input = Tensor::full(f32::NAN, (1, 1, 2, 2), &Device::Cpu).unwrap();
    let pooled = relu(&max_pool2d(&input, (2, 2), (2, 2)).unwrap()).unwrap();
    assert!(values(&pooled)[0].is_nan());
}
