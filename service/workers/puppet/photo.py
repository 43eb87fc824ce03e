"""Check that a photo shows one face that can speak, and frame it at the clip's size."""

from dataclasses import dataclass

import cv2
import numpy as np

from service.domain.attempt import AttemptFailed, FailureKind
from service.workers.adapters.base import Frame
from service.workers.puppet.face import (
    CHIN,
    FOREHEAD,
    INNER_LIPS,
    MOUTH_CORNERS,
    OUTER_EYES,
    Box,
    FaceFinder,
    Mesh,
    Points,
    Reals,
    fill_polygons,
)
from service.workers.puppet.framing import crop_around, frame_face
from service.workers.puppet.landmarks import CHEEKS, LOWER_LIP

_MAX_SIDE = 1600  # pixels, in which faces are looked for
_MAX_FACES = 8  # that are looked at
_RIVAL = 0.45  # a second face counts from this share of the first one's size
_MAX_ROLL, _MAX_YAW, _WARN_YAW = 40, 32, 20  # degrees
_MIN_EYES, _WARN_EYES = 36, 70  # pixels between the outer corners of the eyes
_WARN_GAP = 0.09  # between the lips, in eye distances
_MAX_COVER, _WARN_COVER = 0.5, 0.15  # shares of the mouth and chin
# Polygons of the mesh: mouth and chin, and skin that is hardly ever covered.
_MOUTH_AND_CHIN = (
    *LOWER_LIP[0],
    *(422, 424, 418, 421, 200, 201, 194, 204, 202),
)
_SKIN = (
    *CHEEKS,
    (151, 108, 69, 67, 109, 10, 338, 297, 299, 337),
)
_MAX_HUE_DISTANCE = 14  # in the a and b of 8-bit Lab
_MIN_POLYGON = 50  # pixels


@dataclass(frozen=True)
class Portrait:
    """A photo that can speak, at the clip's size."""

    image: Frame
    points: Points  # of the face, in pixels of `image`
    # Sentences for the owner of the job on what may look worse than it could.
    warnings: tuple[str, ...] = ()


def frame_portrait(photo: Frame, width: int, height: int, finder: FaceFinder) -> Portrait:
    """Check a photo, upright RGB, and frame its face in exactly `width` x `height` pixels.

    Raises AttemptFailed (user): `face_not_found`, `several_faces`, `face_too_small`,
    `face_rotated`, `face_turned_away`, `face_cut_off` or `mouth_covered`.
    """
    mesh = _find_in(photo, finder)
    warnings = [*_check_size(mesh), *_check_direction(mesh)]
    _check_edges(photo, mesh.points)
    warnings += _check_mouth(photo, mesh)
    image, points, is_extended = frame_face(photo, mesh.points, width, height)
    if is_extended:
        warnings.append("the photo is too narrow for this size: its edges were extended")
    return Portrait(image, points, tuple(warnings))


def frame_photo(
    photo: Frame, width: int, height: int, finder: FaceFinder
) -> tuple[Frame, tuple[str, ...]]:
    """Crop a photo, upright RGB, to as much as fits `width` x `height`, with the face inside.

    It is for models that draw the person anew, animals and drawings too: that no human face is
    found is one of the warnings, which are returned with the image. Raises AttemptFailed (user):
    `several_faces` or `face_rotated`.
    """
    try:
        mesh = _find_in(photo, finder)
    except AttemptFailed as failure:
        if failure.code != "face_not_found":
            raise
        warning = "no human face was found in the photo: look whether the right one speaks"
        return crop_around(photo, None, width, height), (warning,)
    face = mesh.points[:, :2]
    image = crop_around(photo, face, width, height)
    scale = max(width / photo.shape[1], height / photo.shape[0])
    warnings = []
    if mesh.eye_distance * scale < _MIN_EYES:
        warnings.append("the face is small in the video: its lips will be coarse")
    if (np.ptp(face, axis=0) * scale > (width, height)).any():
        warnings.append("the face does not fit the video whole: ask for a shape like the photo's")
    return image, tuple(warnings)


def _find_in(photo: Frame, finder: FaceFinder) -> Mesh:
    """Find the only face in a photo, in its own pixels, by a copy that is not too large."""
    scale = min(1.0, _MAX_SIDE / max(photo.shape[:2]))
    if scale == 1.0:
        return _find_one(photo, finder)
    size = [max(1, round(side * scale)) for side in photo.shape[1::-1]]
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    mesh = _find_one(small, finder)
    return Mesh(mesh.points / scale, mesh.evidence)


def _find_one(photo: Frame, finder: FaceFinder) -> Mesh:
    """Return the mesh of the only face, the right way up."""
    meshes = _faces_in(photo, finder.detect(photo), finder)
    if not meshes:
        meshes = _faces_in(photo, finder.detect_small(photo), finder)
    if not meshes:
        if _shows_face(np.ascontiguousarray(photo[::-1, ::-1]), finder):
            raise _upside_down()
        raise _refused(
            "face_not_found",
            "no human face was found in the photo; send one of a person who looks at the camera, "
            "with all of the face, or crop it to head and shoulders; most drawings, masks and "
            "animals are not recognised",
        )
    upright, upside_down = meshes[0]
    if upside_down.evidence > upright.evidence:
        raise _upside_down()
    rivals = [pair for pair, _ in meshes[1:] if pair.eye_distance > _RIVAL * upright.eye_distance]
    if rivals:
        raise _refused(
            "several_faces",
            f"the photo shows {1 + len(rivals)} faces; send one that is cropped to the face that "
            "is to speak",
        )
    return upright


def _faces_in(photo: Frame, boxes: list[Box], finder: FaceFinder) -> list[tuple[Mesh, Mesh]]:
    """Return the mesh of each face in the boxes, upright and turned upside down, largest first."""
    result: list[tuple[Mesh, Mesh]] = []
    for box in boxes[:_MAX_FACES]:
        pair = finder.mesh(photo, box), finder.mesh(photo, box, turn=np.pi)
        if any(mesh.is_face for mesh in pair) and not any(
            _is_same(pair[0], larger) for larger, _ in result
        ):
            result.append(pair)
    return sorted(result, key=lambda pair: -pair[0].eye_distance)


def _is_same(mesh: Mesh, other: Mesh) -> bool:
    """Tell whether two boxes, such as that of half a face, had the same face in them."""
    away = mesh.points.mean(0) - other.points.mean(0)
    return float(np.linalg.norm(away[:2])) < other.eye_distance


def _shows_face(image: Frame, finder: FaceFinder) -> bool:
    return any(finder.mesh(image, box).is_face for box in finder.detect(image)[:_MAX_FACES])


def _check_size(mesh: Mesh) -> list[str]:
    distance = mesh.eye_distance
    if distance < _MIN_EYES:
        raise _refused(
            "face_too_small",
            f"the face is too small: {distance:.0f} pixels between the outer corners of the eyes, "
            f"{_MIN_EYES} are needed; send a larger photo, or one taken from closer",
        )
    if distance < _WARN_EYES:
        return [f"the face is small ({distance:.0f} pixels between the eyes): it will look soft"]
    return []


def _check_direction(mesh: Mesh) -> list[str]:
    roll, yaw = abs(np.degrees(mesh.angle)), abs(_yaw(mesh.points))
    if roll > _MAX_ROLL:
        raise _refused(
            "face_rotated",
            f"the face is rotated by {roll:.0f} degrees; send the photo turned upright",
        )
    if yaw > _MAX_YAW:
        raise _refused(
            "face_turned_away",
            f"the face is turned away by {yaw:.0f} degrees, {_MAX_YAW} can be animated; "
            "send a photo of a face that looks towards the camera",
        )
    if yaw > _WARN_YAW:
        return [f"the face is turned by {yaw:.0f} degrees: the far side may look flat"]
    return []


def _yaw(points: Points) -> float:
    """Return how far the face is turned to a side, in degrees."""
    across = points[OUTER_EYES[1]] - points[OUTER_EYES[0]]
    normal = np.cross(across, points[CHIN] - points[FOREHEAD])
    return float(np.degrees(np.arcsin(np.clip(normal[0] / np.linalg.norm(normal), -1, 1))))


def _check_edges(photo: Frame, points: Points) -> None:
    height, width = photo.shape[:2]
    ends = points[[*OUTER_EYES, *MOUTH_CORNERS, FOREHEAD, CHIN], :2]
    if (ends < 0).any() or (ends >= (width, height)).any():
        raise _refused(
            "face_cut_off",
            "the face is cut off by the edge of the photo; send one that shows all of the face",
        )


def _check_mouth(photo: Frame, mesh: Mesh) -> list[str]:
    share = _cover(photo, mesh.points)
    if share > _MAX_COVER:
        raise _refused(
            "mouth_covered",
            "something covers the mouth, such as a hand, a microphone or a mask; send a photo "
            "with a free mouth",
        )
    warnings = []
    if share > _WARN_COVER:
        warnings.append("something seems to be in front of the mouth or chin: it will bend")
    upper, lower = mesh.points[list(INNER_LIPS), :2]
    if np.linalg.norm(lower - upper) > _WARN_GAP * mesh.eye_distance:
        warnings.append("the mouth is open: a photo with closed lips looks better")
    return warnings


def _cover(photo: Frame, points: Points) -> float:
    """Return the share of mouth and chin whose colour occurs neither on skin nor on lips.

    It is coarse: an arm in front of the mouth is skin, too.
    """
    image, corners = _crop(photo, points)
    blur = max(1.0, 0.01 * float(np.ptp(corners[:, 0])))
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), blur), cv2.COLOR_RGB2LAB)
    colours = lab[..., 1:].astype(float)
    mouth = colours[fill_polygons(image, corners, _MOUTH_AND_CHIN)]
    skin = colours[fill_polygons(image, corners, *_SKIN)]
    if len(mouth) < _MIN_POLYGON or len(skin) < _MIN_POLYGON:
        return 0.0
    hue = np.median(skin, 0)
    is_strange = np.linalg.norm(mouth - hue, axis=1) > _MAX_HUE_DISTANCE
    is_green = mouth[:, 0] < hue[0] - 8  # lips are never greener than skin
    return float(is_strange.mean()) if is_green.mean() > 0.12 else 0.0


def _crop(photo: Frame, points: Points) -> tuple[Frame, Reals]:
    """Cut out the face, so that a photo of 24 megapixels is not converted as a whole."""
    low = np.maximum(points[:, :2].min(0).astype(int) - 8, 0)
    high = points[:, :2].max(0).astype(int) + 8
    return photo[low[1] : high[1], low[0] : high[0]], points[:, :2] - low


def _upside_down() -> AttemptFailed:
    return _refused("face_rotated", "the photo is upside down; send it turned upright")


def _refused(code: str, message: str) -> AttemptFailed:
    return AttemptFailed(FailureKind.USER, code, message)
