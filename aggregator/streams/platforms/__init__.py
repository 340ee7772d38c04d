"""The rules of each platform whose streams are captured."""
