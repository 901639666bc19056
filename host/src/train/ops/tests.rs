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
    fn units_equal_candles(
        n in 1usize..20, c in 1usize..4, o in 1usize..20, size in 5usize..14, kernel in 1usize..4, stride in 1usize..3,
        padding in 0usize..2, depthwise: bool, pool in 0usize..3, last in 0usize..3, normal: bool, seed: u64,
    ) {
        let (groups, padding) = (if depthwise { c } else { 1 }, padding.min(kernel - 1));
        let config = Conv2dConfig { stride: (stride, stride), padding: (padding, padding), groups };
        let (input, weight) = (random(&[n, c, size, size], seed), random(&[if depthwise { c } else { o }, c / groups, kernel, kernel], seed ^ 1));
        let out = (size + 2 * padding - kernel) / stride + 1;
        // Candle pools without leaving a rest.
        let pool = if pool > 0 && out % pool == 0 { Some(Window { size: (pool, pool), stride: (pool, pool) }) } else { None };
        let finish = Finish { pool, relu: last > 0, grid: (last == 2).then_some((0.02, 0)) };
        let channels = weight.dim(0).unwrap();
        let (gamma, beta) = (random(&[channels], seed ^ 2), random(&[channels], seed ^ 3));
        prop_assume!(!normal || n * out * out > 1);
        let post = if normal {
            Channels::BatchNorm { gamma: &gamma, beta: &beta, epsilon: 0.1 }
        } else {
            Channels::Bias(Some(&beta))
        };
        let vars: &[Var] = if normal { &[input.clone(), weight.clone(), gamma.clone(), beta.clone()] } else { &[input.clone(), weight.clone(), beta.clone()] };
        // Values on the verge of being cut off, of rounding or of losing a maximum may go either way.
        let raw = stock::conv_unit(&input, &weight, post, config, Finish::default()).unwrap().0;
        let verge = |x: f32| x.abs() < 1e-4 || (last == 2 && (((x / 0.02) - (x / 0.02).floor() - 0.5).abs() < 2e-3 || (x - 5.1).abs() < 1e-3));
        prop_assume!(!values(&raw).into_iter().any(verge));
        assert_same(
            vars,
            || Ok(conv_unit(&input, &weight, post, config, finish)?.0),
            || Ok(stock::conv_unit(&input, &weight, post, config, finish)?.0),
        );
        let affine = Channels::Affine { gain: &gamma, offset: &beta };
        let (plain, of) = (Finish::default(), |unit: (Tensor, Option<BatchStatistics>)| unit.0);
        let fast = of(conv_unit(&input, &weight, affine, config, plain).unwrap());
        assert_close("affine", &fast, &of(stock::conv_unit(&input, &weight, affine, config, plain).unwrap()));
        if normal {
            let fast = conv_unit(&input, &weight, post, config, finish).unwrap().1.unwrap();
            let candle = stock::conv_unit(&input, &weight, post, config, finish).unwrap().1.unwrap();
            assert_close("mean", &fast.mean, &candle.mean);
            assert_close("variance", &fast.variance, &candle.variance);
        }
    }

    #[test]
    fn sums_equal_candles(n in 1usize..5, len in 1usize..50, last in 0usize..3, seed: u64) {
        let (a, b) = (random(&[n, len], seed), random(&[n, len], seed ^ 1));
        let finish = Finish { pool: None, relu: last > 0, grid: (last == 2).then_some((0.5, 3)) };
        let clear = values(&(a.as_tensor() + b.as_tensor()).unwrap()).into_iter().all(|x| {
            x.abs() > 1e-4 && ((x * 2.0) - (x * 2.0).floor() - 0.5).abs() > 1e-3 && (x + 1.5).abs() > 1e-4
        });
        prop_assume!(clear);
        assert_same(
            &[a.clone(), b.clone()],
            || sum_unit(&a, &b, finish),
            || stock_only(|| sum_unit(&a, &b, finish)),
        );
    }

    #[test]
    fn losses_and_means_equal_candles(n in 1usize..9, classes in 2usize..12, size in 1usize..5, seed: u64) {
        let logits = random(&[n, classes], seed);
        let labels: Vec<u32> = (0..n).map(|i| (i * 7 % classes) as u32).collect();
        let labels = Tensor::from_vec(labels, n, &Device::Cpu).unwrap();
        assert_same(
            std::slice::from_ref(&logits),
            || cross_entropy(&logits, &labels)?.reshape(1),
            || stock_only(|| cross_entropy(&logits, &labels)?.reshape(1)),
        );
        let input = random(&[n, 3, 2 * size, 2 * size], seed);
        assert_same(
            std::slice::from_ref(&input),
            || global_avg_pool(&input),
            || stock_only(|| global_avg_pool(&input)),
        );
        assert_same(
            std::slice::from_ref(&input),
            || avg_pool2d(&input, (2, 2), (2, 2)),
            || stock_only(|| avg_pool2d(&input, (2, 2), (2, 2))),
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
    fn poolings_equal_candles(
        n in 1usize..5, c in 1usize..4, size in 1usize..4, stride in 1usize..4, h in 4usize..9, w in 4usize..9, seed: u64,
    ) {
        // Candle's own pooling wants windows that cover the input.
        let (h, w) = if size == stride { (h / size * size, w / size * size) } else { (h, w) };
        let input = random(&[n, c, h, w], seed);
        assert_same(
            std::slice::from_ref(&input),
            || max_pool2d(&input, (size, size), (stride, stride)),
            || stock::max_pool2d(&input, (size, size), (stride, stride)),
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
    fn distillation_equals_candles(
        n in 1usize..9, classes in 2usize..12, weight in 0.0f64..1.0, heat in 1.0f64..5.0, scale in 0.1f64..8.0, seed: u64,
    ) {
        let (logits, teacher) = (random(&[n, classes], seed), (random(&[n, classes], seed ^ 1).as_tensor() * scale).unwrap());
        let labels = Tensor::from_vec((0..n).map(|i| (i % classes) as u32).collect::<Vec<_>>(), n, &Device::Cpu).unwrap();
        assert_same(
            std::slice::from_ref(&logits),
            || distillation(&logits, &labels, &teacher, weight, heat)?.reshape(1),
            || stock_only(|| distillation(&logits, &labels, &teacher, weight, heat)?.reshape(1)),
        );
    }

    #[test]
    fn squashed_weights_equal_candles(len in 1usize..40, seed: u64) {
        let weight = random(&[2, len], seed);
        // The largest weight's own gradient is where a constant maximum counts.
        assert_same(std::slice::from_ref(&weight), || squash(&weight), || stock_only(|| squash(&weight)));
        prop_assert_eq!(values(&squash(&weight).unwrap()), squashed(&values(&weight)));
    }

    #[test]
    fn fake_quantised_weights_equal_candles(bits in 1u32..6, step in 0.02f32..0.8, seed: u64) {
        let grid = WeightGrid { levels: 1 << bits, zero: (1 << bits) - 1, reach: 0.5, step_gradient_scale: 0.3 };
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
fn the_tape_finds_candles_gradients_and_misses_no_operation() {
    let (input, weight, beta) = (random(&[4, 3, 8, 8], 1), random(&[6, 3, 3, 3], 2), random(&[6], 3));
    let (dense, bias) = (random(&[5, 6], 4), random(&[5], 5));
    let labels = Tensor::from_vec(vec![0u32, 1, 2, 3], 4, &Device::Cpu).unwrap();
    let loss = || {
        let config = Conv2dConfig { padding: (1, 1), ..Conv2dConfig::default() };
        let post = Channels::BatchNorm { gamma: &beta, beta: &beta, epsilon: 1e-3 };
        let x = conv_unit(&input, &weight, post, config, Finish::default())?.0;
        // One tensor read twice, one variable used twice.
        let x = sum_unit(&x, &relu(&x)?, Finish::default())?;
        cross_entropy(&linear(&global_avg_pool(&x)?, &dense, Some(&bias))?, &labels)
    };
    let (value, taped) = differentiate(true, loss, |_| Ok(true)).unwrap();
    let (same, candles) = differentiate(false, loss, |_| Ok(true)).unwrap();
    assert_eq!(values(&value), values(&same));
    let (taped, candles) = (taped.unwrap(), candles.unwrap());
    for var in [&input, &weight, &beta, &dense, &bias] {
        assert_close("gradient", taped.get(var).unwrap(), candles.get(var).unwrap());
    }
    let (_, none) = differentiate(true, loss, |_| Ok(false)).unwrap();
    assert!(none.is_none());
    let unknown =
        || cross_entropy(&(relu(&linear(&input.flatten_from(1)?, &random(&[5, 192], 6), None)?)? * 2.0)?, &labels);
    let error = differentiate(true, unknown, |_| Ok(true)).unwrap_err();
    assert!(error.to_string().contains("does not know"), "{error}");
}

#[test]
fn operations_that_do_not_fit_are_refused() {
    let (input, weight) = (random(&[1, 3, 4, 4], 1), random(&[2, 2, 3, 3], 2));
    assert!(conv2d(&input, &weight, None, Conv2dConfig::default()).is_err());
    assert!(max_pool2d(&input, (5, 5), (1, 1)).is_err());
    assert!(linear(&random(&[2, 3], 1), &random(&[4, 5], 2), None).is_err());
    assert!(
        fake_quantize_weights(
            &weight,
            &random(&[3], 3),
            WeightGrid { levels: 2, zero: 1, reach: 0.5, step_gradient_scale: 1.0 }
        )
        .is_err()
    );
}

#[test]
fn a_nan_stays_visible() {
    let input = Tensor::full(f32::NAN, (1, 1, 2, 2), &Device::Cpu).unwrap();
    let pooled = relu(&max_pool2d(&input, (2, 2), (2, 2)).unwrap()).unwrap();
    assert!(values(&pooled)[0].is_nan());
}

#[test]
fn distillation_has_the_slopes_of_its_loss_and_no_less_than_zero_divergence() {
    let (logits, teacher) = (random(&[3, 5], 1), random(&[3, 5], 2));
    let labels = Tensor::new(&[0u32, 4, 2], &Device::Cpu).unwrap();
    let loss = || distillation(&logits, &labels, &teacher, 0.7, 3.0);
    let (_, gradients) = differentiate(true, loss, |_| Ok(true)).unwrap();
    let gradient = values(gradients.unwrap().get(&logits).unwrap());
    for (index, found) in gradient.iter().enumerate() {
        let slope = finite_difference(&logits, index, || f64::from(loss().unwrap().to_scalar::<f32>().unwrap()));
        assert!((slope - f64::from(*found)).abs() < 1e-4, "{index}: {slope} and {found}");
    }
    let divergence = |teacher: &Tensor| {
        f64::from(distillation(&logits, &labels, teacher, 1.0, 2.0).unwrap().to_scalar::<f32>().unwrap())
    };
    assert!(divergence(&logits).abs() < 1e-6 && divergence(&teacher) > 1e-3);
    assert!(distillation(&logits, &labels, &random(&[3, 4], 1), 0.5, 2.0).is_err());
}

#[test]
fn a_gradient_is_added_to_what_is_there_and_to_nothing() {
    let (a, b) = (random(&[4], 1), random(&[4], 2));
    for own in [true, false] {
        let (_, gradients) = differentiate(own, || if own { relu(&a) } else { a.relu() }, |_| Ok(true)).unwrap();
        let mut gradients = gradients.unwrap();
        let before = values(gradients.get(&a).unwrap());
        gradients.add(&a, &b).unwrap();
        gradients.add(&b, &b).unwrap();
        for ((sum, before), b) in values(gradients.get(&a).unwrap()).iter().zip(before).zip(values(&b)) {
            assert!((sum - before - b).abs() < 1e-6);
        }
        assert_eq!(values(gradients.get(&b).unwrap()), values(&b));
    }
}
