//! The backward pass of a unit.

use rayon::prelude::*;

use super::forward::{cleared, padded_group};
use super::geometry::{Geometry, pitch};
use super::patches::Padded;
use super::scratch::{Scratch, sized};
use super::{Kernel, Post, Saved, depthwise};
use crate::train::ops::gemm::{Into, View, multiply};
use crate::train::ops::slices;

/// Gradients that the backward pass adds up.
#[derive(Debug)]
pub(super) struct ParameterGradients {
    /// Of the weight, in its own order.
    pub(super) weight: Vec<f32>,
    /// Of the rows of per-channel parameters.
    pub(super) channel: Vec<f32>,
}

/// How the gradient of the sums follows from that behind the affine map, in one channel: `gain * (g - mean - slope * (y - centre))`.
#[derive(Clone, Copy, Debug)]
struct Through {
    gain: f32,
    mean: f32,
    slope: f32,
    centre: f32,
}

impl Kernel {
    /// Gradients of weight and per-channel parameters, and of the input if `grad_input` has room for it.
    pub(super) fn backward(
        &self,
        input: &[f32],
        weight: &[f32],
        channel: &[f32],
        grad: &[f32],
        saved: &Saved,
        grad_input: &mut [f32],
    ) -> ParameterGradients {
        let geometry = &self.geometry;
        let (images, channels) = (geometry.lane(), geometry.channels());
        let mut of_channel = Vec::new();
        let mut through: Vec<Through> = match self.post {
            Post::Affine => {
                channel[..channels].iter().map(|&gain| Through { gain, mean: 0.0, slope: 0.0, centre: 0.0 }).collect()
            }
            _ => vec![Through { gain: 1.0, mean: 0.0, slope: 0.0, centre: 0.0 }; channels],
        };
        if let Post::BatchNorm { .. } = self.post {
            let [of_beta, of_gamma] = self.norm_gradients(grad, saved);
            let count = (geometry.n * geometry.places()) as f32;
            for (index, through) in through.iter_mut().enumerate() {
                let inverse = saved.inverse[index];
                *through = Through {
                    gain: channel[index] * inverse,
                    mean: of_beta[index] / count,
                    slope: of_gamma[index] / count * inverse,
                    centre: saved.mean[index],
                };
            }
            of_channel = [of_gamma, of_beta].concat();
        }
        let lanes_of_input: Vec<&mut [f32]> = if grad_input.is_empty() {
            std::iter::repeat_with(|| &mut [][..]).take(geometry.n.div_ceil(images)).collect()
        } else {
            grad_input.chunks_mut(images * geometry.image()).collect()
        };
        let lanes = lanes_of_input.into_par_iter().enumerate();
        let lanes = lanes.zip(input.par_chunks(images * geometry.image()));
        let partial: Vec<Lane> = lanes
            .zip(grad.par_chunks(images * self.pooled()))
            .map(|(((lane, grad_input), input), grad)| {
                let mut sums = Lane { weight: vec![0.0; weight.len()], bias: vec![0.0; channels] };
                let work = |scratch: &mut Scratch| {
                    self.backward_lane(lane, input, weight, grad, saved, &through, grad_input, &mut sums, scratch);
                };
                Scratch::with(work);
                sums
            })
            .collect();
        let mut lanes = partial.into_iter();
        let mut total = lanes.next().unwrap_or_default();
        for lane in lanes {
            add(&mut total.weight, &lane.weight);
            add(&mut total.bias, &lane.bias);
        }
        if of_channel.is_empty() {
            of_channel = total.bias;
        }
        ParameterGradients { weight: self.in_weight_order(total.weight), channel: of_channel }
    }

    /// For each channel the sums of the gradients behind the affine map, and of those times the normalised sums.
    fn norm_gradients(&self, grad: &[f32], saved: &Saved) -> [Vec<f32>; 2] {
        let (geometry, channels, images) = (&self.geometry, self.geometry.channels(), self.geometry.lane());
        let (lane, step) = (images * self.pooled(), geometry.chunk() * self.pooled());
        let lanes = grad.par_chunks(lane).zip(saved.codes.par_chunks(lane));
        let lanes = lanes.zip(saved.sums.par_chunks(images * geometry.result()));
        let partial: Vec<Vec<[f64; 2]>> = lanes
            .map(|((grad, codes), sums)| {
                Scratch::with(|scratch| {
                    let mut totals = vec![[0.0; 2]; channels];
                    let chunks = grad.chunks(step).zip(codes.chunks(step));
                    for ((grad, codes), sums) in chunks.zip(sums.chunks(geometry.chunk() * geometry.result())) {
                        let width = sums.len() / channels;
                        let row = sized(&mut scratch.sums, width);
                        for (channel, (sums, [plain, weighted])) in
                            sums.chunks_exact(width).zip(&mut totals).enumerate()
                        {
                            self.reverse_row(channel, grad, codes, row);
                            let total = slices::sum(row);
                            *plain += f64::from(total);
                            let centred =
                                f64::from(slices::dot(row, sums)) - f64::from(total) * f64::from(saved.mean[channel]);
                            *weighted += centred * f64::from(saved.inverse[channel]);
                        }
                    }
                    totals
                })
            })
            .collect();
        [0, 1].map(|kind| {
            (0..channels).map(|channel| partial.iter().map(|lane| lane[channel][kind]).sum::<f64>() as f32).collect()
        })
    }

    /// The gradients of one channel's row in a chunk, before the pooling and behind the affine map.
    fn reverse_row(&self, channel: usize, grad: &[f32], codes: &[u8], row: &mut [f32]) {
        let pooled = self.plane.out_height * self.plane.out_width;
        for (image, row) in row.chunks_exact_mut(self.geometry.places()).enumerate() {
            let at = (image * self.geometry.channels() + channel) * pooled;
            self.finish.reverse(self.plane, &grad[at..][..pooled], &codes[at..][..pooled], row);
        }
    }

    /// Goes back through one lane: adds to its sums, writes its input gradients if there is room for them.
    #[expect(clippy::too_many_arguments, reason = "what a lane shares with the others, and what is its own")]
    fn backward_lane(
        &self,
        lane: usize,
        input: &[f32],
        weight: &[f32],
        grad: &[f32],
        saved: &Saved,
        through: &[Through],
        grad_input: &mut [f32],
        into: &mut Lane,
        scratch: &mut Scratch,
    ) {
        let geometry = &self.geometry;
        let (channels, places, result) = (geometry.channels(), geometry.places(), geometry.result());
        let (chunk, first) = (geometry.chunk(), lane * geometry.lane());
        let padding = Padded::new(geometry);
        let Scratch { padded, grad_padded, columns, sums } = scratch;
        let padded = cleared(padded, padding, geometry);
        let step = chunk * self.pooled();
        let chunks = grad.chunks(step).zip(saved.codes[first * self.pooled()..].chunks(step));
        for (index, ((grad, codes), input)) in chunks.zip(input.chunks(chunk * geometry.image())).enumerate() {
            let images = grad.len() / self.pooled();
            let (width, stride) = (images * places, pitch(images * places));
            let rows = sized(sums, channels * stride);
            for (channel, row) in rows.chunks_exact_mut(stride).enumerate() {
                let row = &mut row[..width];
                self.reverse_row(channel, grad, codes, row);
                if saved.sums.is_empty() {
                    into.bias[channel] += slices::sum(row);
                    if through[channel].gain != 1.0 {
                        row.iter_mut().for_each(|grad| *grad *= through[channel].gain);
                    }
                    continue;
                }
                let Through { gain, mean, slope, centre } = through[channel];
                let sums = &saved.sums[(first + index * chunk) * result + channel * width..][..width];
                for (grad, &y) in row.iter_mut().zip(sums) {
                    *grad = gain * (*grad - mean - slope * (y - centre));
                }
            }
            let from = index * chunk * geometry.image();
            let grad_input = match grad_input.is_empty() {
                true => &mut [][..],
                false => &mut grad_input[from..][..images * geometry.image()],
            };
            for group in 0..geometry.groups {
                let rows = &rows[group * geometry.o * stride..][..geometry.o * stride];
                let piece = group * geometry.o * geometry.patch()..(group + 1) * geometry.o * geometry.patch();
                let of_weight = &mut into.weight[piece.clone()];
                let buffers = Buffers { padded, grad_padded, columns };
                self.backward_group(group, input, &weight[piece], rows, grad_input, of_weight, buffers);
            }
        }
    }

    /// Goes back through the convolution of one group of a chunk, from the gradients of its sums.
    #[expect(clippy::too_many_arguments, reason = "the operands of two products and their room")]
    fn backward_group(
        &self,
        group: usize,
        input: &[f32],
        weight: &[f32],
        grads: &[f32],
        grad_input: &mut [f32],
        grad_weight: &mut [f32],
        buffers: Buffers<'_>,
    ) {
        let geometry = &self.geometry;
        let (patch, places, o) = (geometry.patch(), geometry.places(), geometry.o);
        let (padding, wants_input) = (Padded::new(geometry), !grad_input.is_empty());
        let Buffers { padded, grad_padded, columns } = buffers;
        let images = input.len() / geometry.image();
        let (width, stride) = (images * places, grads.len() / o);
        let group_len = geometry.c * geometry.h * geometry.w;
        // The input's gradients come together in padded images, one after the other.
        let one = padding.len(geometry.c);
        let grad_padded = if wants_input { sized(grad_padded, images * one) } else { &mut [] };
        grad_padded.fill(0.0);
        if geometry.is_depthwise() {
            for (image, input) in input.chunks_exact(geometry.image()).enumerate() {
                let padded = padded_group(geometry, padding, input, group, padded);
                let grads = &grads[image * places..][..places];
                let into = wants_input.then(|| &mut grad_padded[image * one..][..one]);
                depthwise::backward(geometry, padding, padded, weight, grads, grad_weight, into);
            }
        } else {
            for block in geometry.blocks() {
                let count = if block.rows == geometry.oh { width } else { block.rows * geometry.ow };
                let pitch = pitch(count);
                let columns = sized(columns, patch * pitch);
                for (image, input) in input.chunks_exact(geometry.image()).enumerate() {
                    let group = if block.row == 0 || padding.is_plain(geometry) {
                        padded_group(geometry, padding, input, group, padded)
                    } else {
                        &*padded
                    };
                    padding.lay_columns(geometry, block, group, columns, pitch, image * places);
                }
                let grads = &grads[block.row * geometry.ow..];
                self.multiply_weight_gradient(count, View::rows(grads, stride), columns, pitch, grad_weight);
                if wants_input {
                    let (weight, grads) = (View::transposed(weight, patch), View::rows(grads, stride));
                    multiply([patch, o, count], weight, grads, columns, pitch, Into::Overwrite);
                    for image in 0..images {
                        let into = &mut grad_padded[image * one..][..one];
                        padding.add_columns(geometry, block, columns, pitch, image * places, into);
                    }
                }
            }
        }
        if wants_input {
            for (image, padded) in grad_padded.chunks_exact(one).enumerate() {
                let to = &mut grad_input[image * geometry.image() + group * group_len..][..group_len];
                padding.take(geometry, geometry.c, padded, to);
            }
        }
    }

    /// Whether weight gradients are added up transposed: then the short matrix is the one whose packing transposes it.
    const fn sums_transposed(&self) -> bool {
        let o = self.geometry.o;
        !self.geometry.is_depthwise() && (o >= 48 || (o >= 16 && o.is_multiple_of(16)))
    }

    fn multiply_weight_gradient(&self, count: usize, grads: View<'_>, columns: &[f32], pitch: usize, into: &mut [f32]) {
        let (o, patch) = (self.geometry.o, self.geometry.patch());
        if self.sums_transposed() {
            let (columns, grads) = (View::rows(columns, pitch), View::transposed(grads.data, grads.row_stride));
            multiply([patch, count, o], columns, grads, into, o, Into::Accumulate);
        } else {
            let columns = View::transposed(columns, pitch);
            multiply([o, count, patch], grads, columns, into, patch, Into::Accumulate);
        }
    }

    fn in_weight_order(&self, sums: Vec<f32>) -> Vec<f32> {
        if !self.sums_transposed() {
            return sums;
        }
        let Geometry { o, .. } = self.geometry;
        let patch = self.geometry.patch();
        let mut ordered = vec![0.0; sums.len()];
        for (from, to) in sums.chunks_exact(o * patch).zip(ordered.chunks_exact_mut(o * patch)) {
            for (column, from) in from.chunks_exact(o).enumerate() {
                for (row, &value) in from.iter().enumerate() {
                    to[row * patch + column] = value;
                }
            }
        }
        ordered
    }
}

/// What a lane adds up.
#[derive(Debug, Default)]
struct Lane {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// The scratch of one group.
struct Buffers<'a> {
    padded: &'a mut [f32],
    grad_padded: &'a mut Vec<f32>,
    columns: &'a mut Vec<f32>,
}

fn add(sum: &mut [f32], part: &[f32]) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}
