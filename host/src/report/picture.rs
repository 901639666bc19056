//! A picture in both forms: SVG for pages, PNG for what takes no SVG.

use std::io::Cursor;
use std::sync::LazyLock;

use image::{ImageFormat, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

/// What drawing comes to.
pub(super) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Letters come with the program, so that pictures are the same on every machine.
static FONT: LazyLock<bool> =
    LazyLock::new(|| register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok());

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// As scalable vector graphics.
    pub svg: String,
    /// As a PNG file.
    pub png: Vec<u8>,
}

impl Picture {
    /// Draws both forms, by the same function made for either. None if that fails, which it does not as long as there is
    /// something to draw: both are drawn in memory.
    pub(super) fn draw(
        size: (u32, u32),
        on_svg: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Drawn,
        on_pixels: impl FnOnce(&DrawingArea<BitMapBackend<'_>, Shift>) -> Drawn,
    ) -> Option<Self> {
        if !*FONT {
            return None;
        }
        let mut svg = String::new();
        on_svg(&SVGBackend::with_string(&mut svg, size).into_drawing_area()).ok()?;
        let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
        on_pixels(&BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area()).ok()?;
        let mut png = Cursor::new(Vec::new());
        RgbImage::from_raw(size.0, size.1, pixels)?.write_to(&mut png, ImageFormat::Png).ok()?;
        Some(Self { svg, png: png.into_inner() })
    }
}
