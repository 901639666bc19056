//! The forward pass of a unit.

use rayon::prelude::*;

use super::geometry::{Block, Geometry, pitch};
use super::patches::Padded;
use super::scratch::{Scratch, sized};
use super::{Kernel, Post, Saved, depthwise};
use crate::train::ops::gemm::{Into, View, multiply};
use crate::train::ops::slices;

impl Kernel {
    /// Runs the unit. `channel` has a row for each kind of per-channel parameter, as [`Post`] says. Leaves in `saved` what
    /// the backward pass needs.
    pub(super) fn forward(
        &self,
        input: &[f32],
        weight: &[f32],
        channel: &[f32],
        output: &mut [f32],
        saved: &mut Saved,
    ) {
        let (geometry, result) = (&self.geometry, self.pooled());
        let images = geometry.lane();
        saved.codes.resize(geometry.n * result, 0);
        if let Post::BatchNorm { epsilon } = self.post {
            saved.sums.resize(geometry.n * geometry.result(), 0.0);
            let lanes = saved.sums.par_chunks_mut(images * geometry.result());
            let partial: Vec<Vec<[f64; 2]>> = lanes
                .zip(input.par_chunks(images * geometry.image()))
                .map(|(sums, input)| Scratch::with(|scratch| self.sum_lane(input, weight, sums, scratch)))
                .collect();
            saved.set_statistics(&partial, geometry.n * geometry.places(), epsilon);
            let affine = saved.affine(channel);
            let codes = saved.codes.par_chunks_mut(images * result);
            let lanes = output.par_chunks_mut(images * result).zip(codes);
            lanes.zip(saved.sums.par_chunks(images * geometry.result())).for_each(|((output, codes), sums)| {
                let chunks = sums.chunks(geometry.chunk() * geometry.result());
                let step = geometry.chunk() * result;
                for ((sums, output), codes) in chunks.zip(output.chunks_mut(step)).zip(codes.chunks_mut(step)) {
                    self.finish_chunk(sums, &affine, output, codes);
                }
            });
            return;
        }
        let affine: Vec<(f32, f32)> = match self.post {
            Post::Affine => {
                let (gains, offsets) = channel.split_at(geometry.channels());
                gains.iter().copied().zip(offsets.iter().copied()).collect()
            }
            _ => channel.iter().map(|&bias| (1.0, bias)).collect(),
        };
        let lanes = output.par_chunks_mut(images * result).zip(saved.codes.par_chunks_mut(images * result));
        lanes.zip(input.par_chunks(images * geometry.image())).for_each(|((output, codes), input)| {
            Scratch::with(|scratch| {
                let Scratch { padded, columns, sums, .. } = scratch;
                let padding = Padded::new(geometry);
                let padded = cleared(padded, padding, geometry);
                let (step, chunk) = (geometry.chunk() * result, geometry.chunk());
                let chunks = output.chunks_mut(step).zip(codes.chunks_mut(step));
                for ((output, codes), input) in chunks.zip(input.chunks(chunk * geometry.image())) {
                    let sums = sized(sums, output.len() / result * geometry.result());
                    convolve(geometry, padding, input, weight, sums, padded, columns);
                    self.finish_chunk(sums, &affine, output, codes);
                }
            });
        });
    }

    /// The sums of one lane, and for each channel the sum of them and of their squares.
    fn sum_lane(&self, input: &[f32], weight: &[f32], sums: &mut [f32], scratch: &mut Scratch) -> Vec<[f64; 2]> {
        let geometry = &self.geometry;
        let mut totals = vec![[0.0; 2]; geometry.channels()];
        let padding = Padded::new(geometry);
        let padded = cleared(&mut scratch.padded, padding, geometry);
        let chunks = sums.chunks_mut(geometry.chunk() * geometry.result());
        for (sums, input) in chunks.zip(input.chunks(geometry.chunk() * geometry.image())) {
            convolve(geometry, padding, input, weight, sums, padded, &mut scratch.columns);
            let width = sums.len() / geometry.channels();
            for (row, [total, squares]) in sums.chunks_exact(width).zip(&mut totals) {
                *total += f64::from(slices::sum(row));
                *squares += f64::from(slices::dot(row, row));
            }
        }
        totals
    }

    /// Finishes the planes of a chunk.
    fn finish_chunk(&self, sums: &[f32], affine: &[(f32, f32)], output: &mut [f32], codes: &mut [u8]) {
        let places = self.geometry.places();
        let (width, pooled) = (sums.len() / self.geometry.channels(), self.plane.out_height * self.plane.out_width);
        for (channel, (sums, &affine)) in sums.chunks_exact(width).zip(affine).enumerate() {
            for (image, sums) in sums.chunks_exact(places).enumerate() {
                let at = (image * self.geometry.channels() + channel) * pooled;
                let (output, codes) = (&mut output[at..][..pooled], &mut codes[at..][..pooled]);
                self.finish.apply(self.plane, sums, affine, output, codes);
            }
        }
    }
}

/// Room for a padded group of an image, all zero.
pub(super) fn cleared<'a>(buffer: &'a mut Vec<f32>, padding: Padded, geometry: &Geometry) -> &'a mut [f32] {
    if padding.is_plain(geometry) {
        return &mut [];
    }
    let padded = sized(buffer, padding.len(geometry.c));
    padded.fill(0.0);
    padded
}

/// A group of an image as [`Padded`] lays it out: a view of the image itself where that is the same.
pub(super) fn padded_group<'a>(
    geometry: &Geometry,
    padding: Padded,
    image: &'a [f32],
    group: usize,
    padded: &'a mut [f32],
) -> &'a [f32] {
    let len = geometry.c * geometry.h * geometry.w;
    let image = &image[group * len..][..len];
    if padding.is_plain(geometry) {
        return image;
    }
    padding.fill(geometry, geometry.c, image, padded);
    padded
}

/// The sums of a chunk's images: a row an output channel, in it the places of one image after the other.
fn convolve(
    geometry: &Geometry,
    padding: Padded,
    input: &[f32],
    weight: &[f32],
    sums: &mut [f32],
    padded: &mut [f32],
    columns: &mut Vec<f32>,
) {
    let (patch, places, o) = (geometry.patch(), geometry.places(), geometry.o);
    let width = sums.len() / geometry.channels();
    for group in 0..geometry.groups {
        let weight = &weight[group * o * patch..][..o * patch];
        if geometry.is_depthwise() {
            for (image, input) in input.chunks_exact(geometry.image()).enumerate() {
                let padded = padded_group(geometry, padding, input, group, padded);
                let sums = &mut sums[group * width + image * places..][..places];
                depthwise::forward(geometry, padding, padded, weight, sums);
            }
            continue;
        }
        for Block { row, rows } in geometry.blocks() {
            let count = if rows == geometry.oh { width } else { rows * geometry.ow };
            let stride = pitch(count);
            let columns = sized(columns, patch * stride);
            for (image, input) in input.chunks_exact(geometry.image()).enumerate() {
                let group = if row == 0 || padding.is_plain(geometry) {
                    padded_group(geometry, padding, input, group, padded)
                } else {
                    // The blocks of one image share its padded copy.
                    &*padded
                };
                padding.lay_columns(geometry, Block { row, rows }, group, columns, stride, image * places);
            }
            let sums = &mut sums[group * o * width + row * geometry.ow..];
            let columns = View::rows(columns, stride);
            multiply([o, patch, count], View::rows(weight, patch), columns, sums, width, Into::Overwrite);
        }
    }
}
