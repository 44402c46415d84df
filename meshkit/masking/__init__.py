from meshkit.masking.compile import Masks
from meshkit.masking.keys import KeyRing
