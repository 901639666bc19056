//! 2-D convolution by im2col and matrix multiplication.
//!
//! The batch is cut into blocks of a few images, so that one multiplication has enough columns to run at full speed, and
//! the blocks are spread over the threads. A weight gradient is summed within [`LANES`] fixed lanes of consecutive blocks
//! and then over the lanes in order: results do not depend on the number of threads, to the bit. The patches are made
//! anew for the backward pass, which is cheaper than to keep them.

use std::cell::RefCell;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::gemm::{Into, View, multiply};
use super::slices;

/// Geometry of a 2-D convolution; pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dConfig {
    /// Stride.
    pub stride: (usize, usize),
    /// Zeros on both sides.
    pub padding: (usize, usize),
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self { stride: (1, 1), padding: (0, 0), groups: 1 }
    }
}

/// Convolves `input` `[N, C, H, W]` with `weight` `[O, C / groups, KH, KW]` and adds `bias` `[O]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn conv2d(input: &Tensor, weight: &Tensor, bias: Option<&Tensor>, config: Conv2dConfig) -> Result<Tensor> {
    if !input.device().is_cpu() {
        return super::stock::conv2d(input, weight, bias, config);
    }
    let (input, weight) = (input.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => input.apply_op3(&weight, &bias.contiguous()?, Convolution { config }),
        None => input.apply_op2(&weight, Convolution { config }),
    }
}

/// Parts in which a weight gradient is summed before the parts are.
const LANES: usize = 8;
/// Columns that one multiplication should have at least.
const COLUMNS: usize = 512;

struct Convolution {
    config: Conv2dConfig,
}

/// All sizes of one convolution. `c` and `o` are per group.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    n: usize,
    groups: usize,
    c: usize,
    h: usize,
    w: usize,
    o: usize,
    kh: usize,
    kw: usize,
    oh: usize,
    ow: usize,
    /// Images of a block.
    block: usize,
    config: Conv2dConfig,
}

impl Sizes {
    fn new(input: &Shape, weight: &Shape, config: Conv2dConfig) -> Result<Self> {
        let (n, c, h, w) = input.dims4()?;
        let (o, c_group, kh, kw) = weight.dims4()?;
        let groups = config.groups;
        let (stride, padding) = (config.stride, config.padding);
        let fits = groups > 0 && c == c_group * groups && o % groups == 0 && stride.0 > 0 && stride.1 > 0;
        if !fits || h + 2 * padding.0 < kh || w + 2 * padding.1 < kw || n == 0 {
            bail!("a convolution of {input:?} with {weight:?} does not fit {config:?}");
        }
        let oh = (h + 2 * padding.0 - kh) / stride.0 + 1;
        let ow = (w + 2 * padding.1 - kw) / stride.1 + 1;
        let block = COLUMNS.div_ceil(oh * ow).min(n.div_ceil(LANES)).max(1);
        Ok(Self { n, groups, c: c_group, h, w, o: o / groups, kh, kw, oh, ow, block, config })
    }

    const fn patch(&self) -> usize {
        self.c * self.kh * self.kw
    }

    const fn places(&self) -> usize {
        self.oh * self.ow
    }

    const fn image(&self) -> usize {
        self.groups * self.c * self.h * self.w
    }

    const fn result(&self) -> usize {
        self.groups * self.o * self.oh * self.ow
    }

    /// The output columns for which kernel column `j` lies inside the input, and the input column of the first.
    fn inside(&self, j: usize) -> (usize, usize, usize) {
        let (stride, padding) = (self.config.stride.1, self.config.padding.1);
        let first = padding.saturating_sub(j).div_ceil(stride);
        let last = (self.w + padding).checked_sub(j + 1).map_or(0, |room| room / stride + 1).min(self.ow);
        (first.min(last), last, (first * stride + j).saturating_sub(padding))
    }

    /// Visits each (patch row, output row) with its place in the image: `visit(patch row, output row, input row start or none)`.
    fn for_each_row(&self, mut visit: impl FnMut(usize, usize, usize, Option<usize>)) {
        for channel in 0..self.c {
            for i in 0..self.kh {
                for j in 0..self.kw {
                    let row = (channel * self.kh + i) * self.kw + j;
                    for oy in 0..self.oh {
                        let y = (oy * self.config.stride.0 + i).checked_sub(self.config.padding.0);
                        let start = y.filter(|&y| y < self.h).map(|y| (channel * self.h + y) * self.w);
                        visit(row, j, oy, start);
                    }
                }
            }
        }
    }

    /// Lays the patches of one group of one image into columns `at..at + places` of `columns`.
    fn im2col(&self, image: &[f32], columns: &mut [f32], stride: usize, at: usize) {
        let step = self.config.stride.1;
        self.for_each_row(|row, j, oy, start| {
            let to = &mut columns[row * stride + at + oy * self.ow..][..self.ow];
            let Some(start) = start else { return to.fill(0.0) };
            let (first, last, x) = self.inside(j);
            to[..first].fill(0.0);
            to[last..].fill(0.0);
            if first < last {
                let from = &image[start + x..start + x + (last - first - 1) * step + 1];
                if step == 1 {
                    to[first..last].copy_from_slice(from);
                } else {
                    for (to, from) in to[first..last].iter_mut().zip(from.iter().step_by(step)) {
                        *to = *from;
                    }
                }
            }
        });
    }

    /// The transpose of [`Sizes::im2col`]: adds the patches' gradients to the image's.
    fn col2im(&self, columns: &[f32], stride: usize, at: usize, image: &mut [f32]) {
        let step = self.config.stride.1;
        self.for_each_row(|row, j, oy, start| {
            let (first, last, x) = self.inside(j);
            let (Some(start), true) = (start, first < last) else { return };
            let from = &columns[row * stride + at + oy * self.ow..][first..last];
            let to = &mut image[start + x..start + x + (last - first - 1) * step + 1];
            if step == 1 {
                for (to, from) in to.iter_mut().zip(from) {
                    *to += from;
                }
            } else {
                for (to, from) in to.iter_mut().step_by(step).zip(from) {
                    *to += from;
                }
            }
        });
    }
}

/// Buffers that a thread keeps from block to block and from step to step.
#[derive(Default)]
struct Scratch {
    columns: Vec<f32>,
    product: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// The first `len` elements of a buffer, which grows if it must.
fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

fn forward(sizes: &Sizes, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let mut output = vec![0.0; sizes.n * sizes.result()];
    let (patch, places, o) = (sizes.patch(), sizes.places(), sizes.o);
    let blocks = output.par_chunks_mut(sizes.block * sizes.result()).zip(input.par_chunks(sizes.block * sizes.image()));
    blocks.for_each(|(output, input)| {
        SCRATCH.with_borrow_mut(|scratch| {
            let images = input.len() / sizes.image();
            let width = images * places;
            for group in 0..sizes.groups {
                let columns = sized(&mut scratch.columns, patch * width);
                for image in 0..images {
                    let start = image * sizes.image() + group * sizes.c * sizes.h * sizes.w;
                    sizes.im2col(&input[start..], columns, width, image * places);
                }
                let product = sized(&mut scratch.product, o * width);
                let weight = View::rows(&weight[group * o * patch..][..o * patch], patch);
                multiply([o, patch, width], weight, View::rows(columns, width), product, width, Into::Overwrite);
                for image in 0..images {
                    for channel in 0..o {
                        let from = &product[channel * width + image * places..][..places];
                        let channel = group * o + channel;
                        let to = &mut output[image * sizes.result() + channel * places..][..places];
                        let bias = bias.map_or(0.0, |bias| bias[channel]);
                        for (to, from) in to.iter_mut().zip(from) {
                            *to = from + bias;
                        }
                    }
                }
            }
        });
    });
    output
}

/// Gradients of the weight and, where wanted, of the input.
fn backward(
    sizes: &Sizes,
    input: &[f32],
    weight: &[f32],
    grad: &[f32],
    wants_input: bool,
) -> (Option<Vec<f32>>, Vec<f32>) {
    let (patch, places, o) = (sizes.patch(), sizes.places(), sizes.o);
    let images_a_lane = sizes.n.div_ceil(LANES);
    let mut grad_input = vec![0.0; if wants_input { input.len() } else { 0 }];
    let empty = std::iter::repeat_with(|| &mut [][..]);
    let lanes_in: Vec<&mut [f32]> = if wants_input {
        grad_input.chunks_mut(images_a_lane * sizes.image()).collect()
    } else {
        empty.take(sizes.n.div_ceil(images_a_lane)).collect()
    };
    let lanes = lanes_in
        .into_par_iter()
        .zip(input.par_chunks(images_a_lane * sizes.image()))
        .zip(grad.par_chunks(images_a_lane * sizes.result()));
    let partial: Vec<Vec<f32>> = lanes
        .map(|((grad_input, input), grad)| {
            let mut grad_weight = vec![0.0; weight.len()];
            SCRATCH.with_borrow_mut(|scratch| {
                let blocks = input.chunks(sizes.block * sizes.image()).zip(grad.chunks(sizes.block * sizes.result()));
                for (index, (input, grad)) in blocks.enumerate() {
                    let images = input.len() / sizes.image();
                    let width = images * places;
                    for group in 0..sizes.groups {
                        let columns = sized(&mut scratch.columns, patch * width);
                        for image in 0..images {
                            let start = image * sizes.image() + group * sizes.c * sizes.h * sizes.w;
                            sizes.im2col(&input[start..], columns, width, image * places);
                        }
                        // The block's output gradients, one row an output channel.
                        let rows = sized(&mut scratch.product, o * width);
                        for image in 0..images {
                            for channel in 0..o {
                                let from = image * sizes.result() + (group * o + channel) * places;
                                rows[channel * width + image * places..][..places]
                                    .copy_from_slice(&grad[from..][..places]);
                            }
                        }
                        let into = &mut grad_weight[group * o * patch..][..o * patch];
                        let transposed = View::transposed(columns, width);
                        multiply([o, width, patch], View::rows(rows, width), transposed, into, patch, Into::Accumulate);
                        if wants_input {
                            let weight = View::transposed(&weight[group * o * patch..][..o * patch], patch);
                            let rows = View::rows(rows, width);
                            multiply([patch, o, width], weight, rows, columns, width, Into::Overwrite);
                            for image in 0..images {
                                let start =
                                    (index * sizes.block + image) * sizes.image() + group * sizes.c * sizes.h * sizes.w;
                                sizes.col2im(columns, width, image * places, &mut grad_input[start..]);
                            }
                        }
                    }
                }
            });
            grad_weight
        })
        .collect();
    (wants_input.then_some(grad_input), sum_in_order(partial, weight.len()))
}

/// The element-wise sum of all parts, first to last.
fn sum_in_order(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| vec![0.0; len]);
    for part in parts {
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sum
}

/// Sums of `[N, O, places]` over images and places: the gradient of a bias.
pub(super) fn channel_sums(grad: &[f32], channels: usize, places: usize) -> Vec<f32> {
    let sum_of = |channel: usize| {
        let planes = grad.chunks_exact(channels * places).map(|image| &image[channel * places..][..places]);
        planes.map(|plane| plane.iter().sum::<f32>()).sum()
    };
    (0..channels).into_par_iter().map(sum_of).collect()
}

impl Convolution {
    fn gradients(&self, input: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Tensor, Vec<f32>)> {
        let sizes = Sizes::new(input.shape(), weight.shape(), self.config)?;
        let ((grad_input, grad_weight), grad_bias) = slices::with(input, |input_data| {
            slices::with(weight, |weight_data| {
                slices::with(grad, |grad| {
                    let grads = backward(&sizes, input_data, weight_data, grad, input.track_op());
                    Ok((grads, channel_sums(grad, sizes.groups * sizes.o, sizes.places())))
                })
            })
        })?;
        let grad_input = grad_input.map(|data| Tensor::from_vec(data, input.shape(), input.device())).transpose()?;
        Ok((grad_input, Tensor::from_vec(grad_weight, weight.shape(), weight.device())?, grad_bias))
    }

    fn output_shape(sizes: &Sizes) -> Shape {
        Shape::from((sizes.n, sizes.groups * sizes.o, sizes.oh, sizes.ow))
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(l1.shape(), l2.shape(), self.config)?;
        let output = forward(&sizes, slices::of_storage(s1, l1)?, slices::of_storage(s2, l2)?, None);
        Ok((CpuStorage::F32(output), Self::output_shape(&sizes)))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (grad_input, grad_weight, _) = self.gradients(input, weight, grad)?;
        Ok((grad_input, Some(grad_weight)))
    }
}

impl CustomOp3 for Convolution {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(l1.shape(), l2.shape(), self.config)?;
        let bias = slices::of_storage(s3, l3)?;
        if bias.len() != sizes.groups * sizes.o {
            bail!("{} biases for {} output channels", bias.len(), sizes.groups * sizes.o);
        }
        let output = forward(&sizes, slices::of_storage(s1, l1)?, slices::of_storage(s2, l2)?, Some(bias));
        Ok((CpuStorage::F32(output), Self::output_shape(&sizes)))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (grad_input, grad_weight, grad_bias) = self.gradients(input, weight, grad)?;
        let grad_bias = Tensor::from_vec(grad_bias, bias.shape(), bias.device())?;
        Ok((grad_input, Some(grad_weight), Some(grad_bias)))
    }
}
