//! From a folder of images to a packed model and the page of its run, by the commands that people type.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::Command;

use image::{Rgb, RgbImage};

const CLASSES: [(&str, [u8; 3]); 3] = [("blue", [30, 40, 220]), ("green", [40, 200, 60]), ("red", [210, 50, 30])];

/// Squares of a colour, in a layout without a validation part.
fn make_images(root: &Path) {
    for (part, count) in [("train", 40), ("test", 8)] {
        for (class, colour) in CLASSES {
            let folder = root.join(part).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for number in 0..count {
                let shade = |value: u8, x: u32, y: u32| value.wrapping_add(((x * 7 + y * 5 + number * 3) % 29) as u8);
                let image = RgbImage::from_fn(20, 18, |x, y| Rgb(colour.map(|value| shade(value, x, y))));
                image.save(folder.join(format!("{number}.png"))).unwrap();
            }
        }
    }
}

#[test]
fn a_folder_of_images_becomes_a_model_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    make_images(&at.join("images"));
    let releq = |arguments: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_releq"))
            .args(arguments.split_whitespace())
            .current_dir(at)
            .env("XDG_CACHE_HOME", at.join("cache"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "releq {arguments}: {said}");
        said
    };
    let said = releq("train --network resnet8 --input 3,16,16 --dataset folder:images --epochs 4 --seed 3 --out run");
    assert!(said.contains("105 for training, 15 for validation, 24 for testing"), "{said}");
    assert!(said.contains("decode"), "{said}");
    let said = releq(
        "search --run run --bits 2,3 --episodes 4 --space flexible --timing episode --reward shaped --cost blob-bytes \
         --pin conv1=8 --quantizer dorefa --set short.steps=2 --set finetune.epochs=2 --set search.lstm=false",
    );
    assert!(!said.contains("decode"), "decoded again: {said}");
    releq("finetune --run run");
    releq("pack --run run");
    releq("pareto --run run");
    releq("report --run run");
    let file = |name: &str| std::fs::read(at.join("run").join(name)).unwrap();
    let result: serde_json::Value = serde_json::from_slice(&file("result.json")).unwrap();
    assert_eq!(result["bits"][0], 8, "the pinned layer: {result}");
    assert!(result["accuracy"]["float"].as_f64().unwrap() > 0.9, "colours are easy: {result}");
    let model = String::from_utf8_lossy(&file("model.rlq")).into_owned();
    assert!(CLASSES.iter().all(|(class, _)| model.contains(class)), "the blob names its classes");
    for picture in ["pareto.png", "probabilities.png"] {
        assert!(image::load_from_memory(&file(picture)).unwrap().width() > 400, "{picture}");
    }
    let page = String::from_utf8(file("report.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 2, "frontier and course");
    for told in ["conv1", "integer engine", "lstm = false", "blob-bytes"] {
        assert!(page.contains(told), "{told}");
    }
    let config = String::from_utf8(file("config.toml")).unwrap();
    assert!(config.contains("kind = \"dorefa\"") && config.contains("# Adam's learning rate"), "{config}");
}
